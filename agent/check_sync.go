package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/syncmode"
)

// sync judges what commits may rely on, and whether the agent may do what its configuration says about it.
func (k *check) sync(ctx context.Context, conn *postgres.Conn) {
	settings, err := syncSettings(ctx, conn)
	if err != nil {
		k.bad(SectionPostgres, err)
		return
	}
	policy := policyOf(k.cluster)
	if err := policy.Check(settings.Application); err != nil {
		k.bad(SectionPostgres, &PolicyError{err})
		return
	}
	k.commits(settings, policy)
	if policy.Names != "" {
		k.alterRights(ctx)
	}
}

// commits says what commits may rely on.
func (k *check) commits(s syncmode.Settings, p syncmode.Policy) {
	const local = "SET synchronous_commit = local; "
	mend := func(f *Finding, name, value string) {
		f.SQL = []string{"ALTER SYSTEM SET " + name + " = " + value + ";", "SELECT pg_reload_conf();"}
		f.Fix = local + strings.Join(f.SQL, " ")
	}
	state, err := syncmode.Judge(s, p.Names)
	k.waits = err != nil || state != syncmode.Off
	found := Finding{Section: SectionPostgres, Verdict: Good}
	switch {
	case err != nil:
		k.bad(SectionPostgres, err)
		return
	case state == syncmode.In:
		found.Text = fmt.Sprintf("no commit returns before it is durable here: synchronous_standby_names = '%s'", s.Names)
		if p.DegradeAfter > 0 {
			found.Text += fmt.Sprintf(", until one has waited for %s", p.DegradeAfter)
		}
	case state == syncmode.Shared:
		found.Text = fmt.Sprintf("commits wait for this archive or for others: synchronous_standby_names = '%s'", s.Names)
	case state == syncmode.Refused:
		found.Verdict = Bad
		found.Text = fmt.Sprintf("synchronous_commit = remote_apply, and synchronous_standby_names = '%s': such commits wait for ever, because nobody can read from an archive", s.Names)
		mend(&found, "synchronous_commit", "on")
	case state == syncmode.NotWaiting:
		found.Verdict = Warning
		found.Text = fmt.Sprintf("synchronous_commit = %s: commits do not wait, though synchronous_standby_names = '%s'", s.Commit, s.Names)
		mend(&found, "synchronous_commit", "on")
	case state == syncmode.Out && s.Names != "":
		found.Verdict = Warning
		found.Text = fmt.Sprintf("commits do not wait for this archive: synchronous_standby_names = '%s', which the agent leaves to whoever set it", s.Names)
		mend(&found, "synchronous_standby_names", "'"+p.Names+"'")
	case state == syncmode.Out:
		found.Verdict = Pending
		found.Text = "commits do not wait for this archive: the agent steps in when all has been durable for a while"
	default: // nobody asks for it
		return
	}
	k.report(found)
}

// alterRights finds out whether the agent may step out and in.
func (k *check) alterRights(ctx context.Context) {
	rights, err := postgres.AskAlterRights(ctx, k.cluster.Postgres, k.system.VersionNum, standbyNames)
	switch {
	case err != nil:
		k.bad(SectionPostgres, fmt.Errorf("ask over an ordinary connection, which the agent needs to step out of synchronous mode and in: %w", err))
	case len(rights.Missing) > 0:
		k.report(Finding{
			Section: SectionPostgres, Verdict: Bad,
			Text: fmt.Sprintf("role %s may not change %s: the agent could not step out of synchronous mode, nor in", rights.Role, standbyNames),
			Fix:  strings.Join(rights.Missing, " "), SQL: rights.Missing,
		})
	default:
		k.good(SectionPostgres, "role %s may change %s", rights.Role, standbyNames)
	}
}
