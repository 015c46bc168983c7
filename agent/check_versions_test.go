package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/limit"
)

func TestJudgeVersioning(t *testing.T) {
	p := &checkedPlace{place: place{name: "dr", url: "s3://acme-dr/main?region=us-east-1&endpoint=http://127.0.0.1:9000"}, label: "dr "}
	const command = "aws s3api put-bucket-versioning --bucket acme-dr --versioning-configuration Status=Enabled --endpoint-url http://127.0.0.1:9000"
	for _, tt := range []struct {
		versioning storage.Versioning
		err        error
		waived     bool
		want       Verdict
		text, fix  string
	}{
		{storage.VersioningEnabled, nil, false, Good, "dr versioning on", ""},
		{storage.VersioningEnabled, nil, true, Good, "dr versioning on", ""},
		{storage.VersioningSuspended, nil, false, Bad, "dr versioning is suspended", command},
		{storage.VersioningOff, nil, false, Bad, "dr versioning is off", command},
		{storage.VersioningOff, nil, true, Good, "(waived by repo.unversioned)", ""},
		{"", fmt.Errorf("no such call: %w", errors.ErrUnsupported), false, Bad, "knows no versioning", "repo.unversioned: dr"},
		{"", storage.ErrDenied, false, Warning, "may not ask", "s3:GetBucketVersioning"},
		{"", storage.ErrUnavailable, false, Warning, "unavailable", ""},
	} {
		f := p.judgeVersioning(tt.versioning, tt.err)
		if tt.waived {
			f = waived(f)
		}
		if f.Verdict != tt.want || !strings.Contains(f.Text, tt.text) || !strings.Contains(f.Fix, tt.fix) || (tt.fix == "") != (f.Fix == "") {
			t.Errorf("%q, %v, waived %v: got %+v", tt.versioning, tt.err, tt.waived, f)
		}
	}
}

// TestVersionsOfNoStore: of a repository that could not be opened nothing is claimed but that.
func TestVersionsOfNoStore(t *testing.T) {
	closed := place{name: "primary", url: "s3://b/main", store: &Store{Store: limit.Wrap(unopened{ErrURL}, limit.Options{})}, closed: true}
	k := &check{places: []*checkedPlace{{place: closed}}, report: func(f Finding) { t.Errorf("got %+v", f) }}
	k.versions(t.Context())
}
