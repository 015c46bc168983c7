package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestCopyByARole: the copy lies in an account of its own, which admits a role alone. The role is taken away and given back while the agent
// works: the archive goes on, the copy is left behind and brought up to date, without a restart.
func TestCopyByARole(t *testing.T) {
	const role = "arn:aws:iam::222222222222:role/pgark-copy"
	r := newRegions(t, postgrestest.Need(t, 15), "primary")
	access, secret := r.s3.Keys()
	sts := storagetest.StartSTS(t, access, secret)
	sts.Allow(role, "acme")
	far := storagetest.StartProxy(t, r.second)
	far.Add(storagetest.Rule{Fault: sts.Sessions(role)})
	url := far.URL("pgark-dr", "main") + "&role=" + role
	r.tool.env = append(r.tool.env, "AWS_ENDPOINT_URL_STS="+sts.Endpoint(), "PGARK_COPIES=dr="+url+"&role_external_id=acme")
	r.tool.start(t, "run")
	r.waitBackup(t)
	r.waitCopy(t, "dr", r.waitArchived(t), 1)

	sts.Refuse(role)
	sts.Expire()
	r.server.Exec(t, "create table more as select g from generate_series(1, 1000) g")
	end := r.waitArchived(t)
	const why = "access denied (assume role " + role + ": AccessDenied)"
	eventually(t, time.Minute, "status to name the role", func() bool { return strings.Contains(r.copies(t)["dr"].Error, why) })
	if o := r.tool.run(t.Context(), "check", "--only", "storage"); o.code != 13 || !strings.Contains(o.stdout, why) {
		t.Errorf("check: exit %d, want 13 and %s\n%s%s", o.code, why, o.stdout, o.stderr)
	}
	sts.Allow(role, "acme")
	r.waitCopy(t, "dr", end, 1)
}
