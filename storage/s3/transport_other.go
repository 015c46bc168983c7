//go:build !linux

package s3

import (
	"context"
	"syscall"
)

func limitUnacked(context.Context, string, string, syscall.RawConn) error { return nil }
