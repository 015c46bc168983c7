package s3_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/limit"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
)

// TestSkew: the store's clock is told by its answers, to a second, also where these carry the time of a second ago, and also through what is laid around a store. A folder has none.
func TestSkew(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, ahead := range []time.Duration{0, time.Minute, -10 * time.Minute} {
		kept := time.Now().Add(ahead).UTC().Format(http.TimeFormat) // as a server that writes it once a second may do
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", kept)
			w.Header().Set("Content-Type", "application/xml")
			_, _ = fmt.Fprint(w, `<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>`)
		}))
		t.Cleanup(server.Close)
		store := limit.Wrap(retry.New(open(t, "s3://bucket/main?region=us-east-1&use_path_style=true&endpoint="+server.URL), retry.Options{MaxElapsed: time.Second}), limit.Options{})
		skew, err := storage.ClockSkew(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		if off := (skew.Ahead - ahead).Abs(); off > skew.Within || skew.Within < time.Second {
			t.Errorf("%s ahead: got %s, give or take %s", ahead, skew.Ahead, skew.Within)
		}
	}
	if _, err := storage.ClockSkew(t.Context(), limit.Wrap(retry.New(memory.New(), retry.Options{}), limit.Options{})); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a store without a clock: %v", err)
	}
}
