package walsender

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// maxSocketPath is what fits into sun_path (unix(7)), with its zero byte.
const maxSocketPath = 107

// Listen makes the socket that libpq looks for with host=dir and this port. The folder is made for its user alone if it is not there; the
// socket is the user's alone. A socket that a dead process left is replaced; the error is one of syscall.EADDRINUSE if somebody listens.
func Listen(ctx context.Context, dir string, port int) (net.Listener, error) {
	path := filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(port))
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: longer than the %d bytes that a socket's path may have", path, maxSocketPath)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make socket folder: %w", err)
	}
	// Whoever made a socket here before and does not answer any more is gone.
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			return nil, fmt.Errorf("listen on %s: %w", path, errors.Join(syscall.EADDRINUSE, conn.Close()))
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("replace %s: %w", path, err)
			}
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("guard %s: %w", path, err), l.Close())
	}
	return l, nil
}
