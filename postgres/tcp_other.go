//go:build !linux

package postgres

import (
	"syscall"
	"time"
)

func limitUnacked(syscall.RawConn, time.Duration) error { return nil }
