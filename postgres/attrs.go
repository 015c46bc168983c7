package postgres

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5/pgconn"
)

// sessionAttrs is libpq's target_session_attrs.
type sessionAttrs string

const (
	attrsAny           sessionAttrs = "any"
	attrsReadWrite     sessionAttrs = "read-write"
	attrsReadOnly      sessionAttrs = "read-only"
	attrsPrimary       sessionAttrs = "primary"
	attrsStandby       sessionAttrs = "standby"
	attrsPreferStandby sessionAttrs = "prefer-standby"
)

// errWrongServer says that a server does not have the session attributes
// asked for; the next host is tried.
var errWrongServer = errors.New("server does not satisfy target_session_attrs")

// attrsOf finds out what target_session_attrs said. pgconn keeps only the
// function that it makes of it, wherever the word came from: the string, the
// environment or the service file.
func attrsOf(validate pgconn.ValidateConnectFunc) sessionAttrs {
	if validate == nil {
		return attrsAny
	}
	known := map[uintptr]sessionAttrs{}
	for attrs, f := range map[sessionAttrs]pgconn.ValidateConnectFunc{
		attrsReadWrite:     pgconn.ValidateConnectTargetSessionAttrsReadWrite,
		attrsReadOnly:      pgconn.ValidateConnectTargetSessionAttrsReadOnly,
		attrsPrimary:       pgconn.ValidateConnectTargetSessionAttrsPrimary,
		attrsStandby:       pgconn.ValidateConnectTargetSessionAttrsStandby,
		attrsPreferStandby: pgconn.ValidateConnectTargetSessionAttrsPreferStandby,
	} {
		known[reflect.ValueOf(f).Pointer()] = attrs
	}
	return known[reflect.ValueOf(validate).Pointer()]
}

// validate returns pgconn's check of a server for attrs. pgconn's own checks
// run SQL, which a physical replication connection refuses; these read what
// every server since 14 reports by itself, as libpq does
// (in_hot_standby and default_transaction_read_only are GUC_REPORT).
func (attrs sessionAttrs) validate() pgconn.ValidateConnectFunc {
	return func(_ context.Context, p *pgconn.PgConn) error {
		standby := p.ParameterStatus("in_hot_standby") == "on"
		readOnly := standby || p.ParameterStatus("default_transaction_read_only") == "on"
		fits := true
		switch attrs {
		case attrsReadWrite:
			fits = !readOnly
		case attrsReadOnly:
			fits = readOnly
		case attrsPrimary:
			fits = !standby
		case attrsStandby, attrsPreferStandby:
			fits = standby
		case attrsAny:
		}
		if !fits {
			return fmt.Errorf("%w=%s", errWrongServer, attrs)
		}
		return nil
	}
}
