package file

import (
	"io"
	"os"

	"github.com/pgark/pgark/storage"
)

// reader gives a span of a file.
type reader struct {
	file  *os.File
	want  int64
	left  int64
	fault func(error) error // gives an error its key and place
	ended func() error      // the cause of the end of the Get's context, or nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.ended(); err != nil {
		return 0, r.fault(err)
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.file.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	switch {
	case err == io.EOF:
		return n, r.fault(storage.ShortBody(r.want-r.left, r.want))
	case err != nil:
		return n, r.fault(err)
	default:
		return n, nil
	}
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.file.Close() }
