package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgark/pgark/storage"
)

// TestDeniedNamesTheAction: a 403 says which permission is lacking and which command prints the policy that has it; a credential that the
// store does not know lacks none.
func TestDeniedNamesTheAction(t *testing.T) {
	for _, test := range []struct {
		op, detail string
		says, not  string
	}{
		{"put", "403 AccessDenied", "lacks s3:PutObject on s3://acme-pg/main/*", "--role"},
		{"commit", "403 AccessDenied", "lacks s3:PutObject on s3://acme-pg/main/*", "--role"},
		{"get", "403 AccessDenied", "lacks s3:GetObject on s3://acme-pg/main/*", ""},
		{"stat", "403 Forbidden", "lacks s3:GetObject, or s3:ListBucket, on s3://acme-pg/main/*", ""},
		{"list", "403 AccessDenied", "lacks s3:ListBucket on s3://acme-pg;", ""},
		{"abort", "403 AccessDenied", "lacks s3:AbortMultipartUpload", ""},
		{"delete", "403 AccessDenied", "pgark repo policy --role janitor s3://acme-pg/main", ""},
		{"versioning", "403 AccessDenied", "pgark repo policy --role repairer s3://acme-pg/main", ""},
		{"replication", "403 AccessDenied", "lacks s3:GetReplicationConfiguration on s3://acme-pg;", ""},
		{"put", "403 SignatureDoesNotMatch", "the credential is unknown to the store", "repo policy"},
		{"put", "403 InvalidAccessKeyId", "the credential is unknown to the store", "repo policy"},
		{"put", "assume role arn:aws:iam::1:role/x: AccessDenied", "a role must trust who assumes it", "repo policy"},
	} {
		s, _ := shown(t)
		err := &storage.Error{Op: test.op, Key: "7/wal/x", Place: "s3://acme-pg/main", Err: storage.ErrDenied, Detail: test.detail}
		f := s.program.explain(fmt.Errorf("cluster main: %w", err))
		text := f.Cause + "\n" + f.Fix
		if f.Code != exitDenied || !strings.Contains(text, test.says) || test.not != "" && strings.Contains(text, test.not) {
			t.Errorf("%s, %s: code %d, want %q and not %q in\n%s", test.op, test.detail, f.Code, test.says, test.not, text)
		}
	}
}

// TestDeniedFolder: who may not read a folder is not told of credentials of a cloud.
func TestDeniedFolder(t *testing.T) {
	s, _ := shown(t)
	f := s.program.explain(&storage.Error{Op: "get", Key: "pgark.json", Place: "file:///srv/my archive", Err: storage.ErrDenied, Detail: "permission denied"})
	if f.Code != exitDenied || strings.Contains(f.Cause+f.Fix, "AWS") || !strings.HasPrefix(f.Fix, "ls -ld '/srv/my archive' ") {
		t.Errorf("code %d, cause %q, fix %q", f.Code, f.Cause, f.Fix)
	}
}
