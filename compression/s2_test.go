package compression_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/s2"

	"github.com/pgark/pgark/compression"
)

// TestStockS2 decodes with the stream reader of the s2d program, and reads what its writer wrote.
func TestStockS2(t *testing.T) {
	encoder, decoder := compression.S2().NewEncoder(), compression.S2().NewDecoder()
	for name, plain := range inputs() {
		stored := encoder.EncodeFrame(encoder.EncodeFrame(nil, plain), plain)
		got, err := io.ReadAll(s2.NewReader(bytes.NewReader(stored)))
		if err != nil || !bytes.Equal(got, append(bytes.Clone(plain), plain...)) {
			t.Errorf("%s: the stock reader gives %d bytes, %v", name, len(got), err)
		}
		var written bytes.Buffer
		w := s2.NewWriter(&written, s2.WriterConcurrency(1), s2.WriterPadding(4096), s2.WriterAddIndex())
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if len(plain) == 0 {
			continue // the stock writer writes no identifier then
		}
		if got, err = decoder.DecodeFrame(nil, written.Bytes(), len(plain)); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: of the stock writer: %d bytes, %v", name, len(got), err)
		}
	}
}
