package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
)

func policyCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "policy", Usage: "print the least that a credential needs at the bucket, as AWS's JSON; asks nobody and changes nothing",
		ArgsUsage: "[URL]",
		Description: "The writer archives, takes base backups and checks: it creates and reads, and can neither overwrite nor delete. The reader restores.\n" +
			"The janitor runs pgark prune and keep; the repairer pgark verify --repair and repo undelete. Give each a role of its own, and the last two none on the\n" +
			"database's host. --bucket-policy prints what belongs on the bucket itself, whoever asks. Standard output is the document alone.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "role", Value: string(agent.Writer), Usage: "writer, reader, janitor or repairer: `ROLE`"},
			&cli.BoolFlag{Name: "bucket-policy", Usage: "print the bucket's policy: no request without TLS, no object under a key that its request brings"},
			&cli.BoolFlag{Name: "lock-headers", Usage: "with repo.lock: grant who writes the right to send locks, for a bucket that does not lock objects by itself"},
			&cli.BoolFlag{Name: "lifecycle", Usage: "print the bucket's lifecycle: uploads and old versions that nobody needs go, and with repo.archive base backups are archived; asks the repository then which clusters it holds"},
			fromFlag(),
		},
	}, atMostOne, repositoryPolicy)
}

func repositoryPolicy(s *session) error {
	role := agent.Role(s.cli.String("role"))
	if !slices.Contains(agent.Roles(), role) {
		return usagef("role %q: want writer, reader, janitor or repairer", role)
	}
	ofBucket := s.cli.Bool("bucket-policy")
	if ofBucket && s.cli.IsSet("role") {
		return usagef("bucket-policy and role: the bucket's policy is the same for all")
	}
	if s.cli.Bool("lifecycle") {
		if ofBucket || s.cli.IsSet("role") {
			return usagef("lifecycle is a document of its own: without role and bucket-policy")
		}
		return s.lifecyclePolicy()
	}
	all, err := s.clusterWith(s.argument())
	if err != nil {
		return err
	}
	c, err := s.clusterFrom(s.argument())
	if err != nil {
		return err
	}
	replicated := c.Repo.URL == all.Repo.URL && slices.ContainsFunc(all.Copies, func(c config.Copy) bool { return c.ByBucket })
	sends := s.cli.Bool("lock-headers")
	if sends && c.Repo.Lock.IsZero() {
		return usagef("lock-headers: repo.lock is not set in the configuration")
	}
	g, err := agent.Least(s.ctx, c.Repo.URL, role, agent.Need{Replicated: replicated, Lock: c.Repo.Lock, SendLock: sends, RemoveVersions: c.Retain.Versions == config.RemoveVersions})
	if errors.Is(err, agent.ErrNoPolicy) {
		return &codeError{
			code: exitUsage, cause: err, why: "whoever may write in the folder may delete there: it protects against mistakes alone",
			fix: "chown it to the user that pgark run is, chmod 0750; who restores needs no more than that user's group",
		}
	}
	if err != nil {
		return err
	}
	document, attach := g.Identity, attachIdentity(g, role, c.Retain.Versions)
	if ofBucket {
		document, attach = g.Bucket, attachBucket(g)
	} else if len(g.Lock) > 0 && !sends {
		attach = append(attach, "It does not let objects be locked when they are made: the bucket must do that by itself (--bucket-policy says how); or print it with --lock-headers.")
	}
	if s.json {
		printed := map[string]any{"repository": c.Repo.URL, "kind": "identity", "role": role, "policy": document, "attach": attach}
		if ofBucket {
			printed["kind"] = "bucket"
			delete(printed, "role")
		}
		return s.printJSON(printed)
	}
	for _, line := range attach {
		s.note("# %s", line)
	}
	return s.printJSON(document)
}

// lifecyclePolicy prints the lifecycle of a bucket.
func (s *session) lifecyclePolicy() error {
	c, err := s.clusterFrom(s.argument())
	if err != nil {
		return err
	}
	document, err := agent.Lifecycle(s.ctx, c, s.lookOptions())
	if err != nil {
		return err
	}
	attach := []string{
		"It belongs on the bucket. It replaces all rules that are there: put them together.",
		"aws s3api put-bucket-lifecycle-configuration --bucket BUCKET --lifecycle-configuration file://FILE",
		"No current object expires by it: what the calendar, a pin or the last drill keeps is known to pgark prune alone, which removes the rest.",
	}
	if s.json {
		return s.printJSON(map[string]any{"repository": c.Repo.URL, "kind": "lifecycle", "policy": document, "attach": attach})
	}
	for _, line := range attach {
		s.note("# %s", line)
	}
	return s.printJSON(document)
}

// attachIdentity says where the policy of a role belongs.
func attachIdentity(g agent.Grant, role agent.Role, versions config.Versions) []string {
	lines := []string{"Attach it to the IAM role or user whose credential is for: " + purpose(role)}
	if g.RoleARN != "" {
		lines[0] = "Attach it to " + g.RoleARN + ", which the URL assumes; whose credential assumes it needs sts:AssumeRole on that. It is for: " + purpose(role)
	}
	lines = append(lines, "aws iam put-role-policy --role-name ROLE --policy-name pgark-"+string(role)+" --policy-document file://FILE")
	switch role {
	case agent.Janitor:
		if versions == config.RemoveVersions {
			lines = append(lines, "retain.versions is remove: it may remove versions for good, which nothing but Object Lock then guards against whoever has it.")
		} else {
			lines = append(lines, "Where the bucket keeps versions its deletions hide objects; a lifecycle rule for noncurrent versions frees their space, or retain.versions: remove.")
		}
	case agent.Repairer:
		lines = append(lines, "The other repository, which what is damaged here is taken from, needs --role reader there.")
	case agent.Reader:
		lines = append(lines, "It may not leave the mark that keeps a long restore safe from retention beyond retain.grace, nor a drill's report: --role writer may.")
	case agent.Writer:
	}
	if g.KeyHidden {
		lines = append(lines, "The URL asks for KMS without kmskeyid: a key other than Amazon's own aws/s3 needs kms:Decrypt and, to write, kms:GenerateDataKey.")
	}
	if g.Endpoint != "" && !strings.Contains(g.Endpoint, ".amazonaws.com") {
		lines = append(lines, "This store is not Amazon's: it may know other names of resources, and fewer conditions.")
	}
	return lines
}

// attachBucket says where the policy of the bucket belongs.
func attachBucket(g agent.Grant) []string {
	lines := []string{
		"It belongs on the bucket, and grants nothing. It replaces a policy that is there: put their statements together.",
		"aws s3api put-bucket-policy --bucket BUCKET --policy file://FILE",
	}
	if len(g.Lock) > 0 {
		lines = append(lines, "With versions and a default retention the bucket locks every new object by itself, and who writes needs no right to lock:")
		lines = append(lines, g.Lock...)
	}
	if g.PlainHTTP {
		lines = append(lines, "The endpoint is plain HTTP: the statement that refuses such requests is left out.")
	}
	return lines
}

func purpose(role agent.Role) string {
	switch role {
	case agent.Reader:
		return "pgark restore, list, status, log, wal fetch, also --as-of"
	case agent.Janitor:
		return "pgark prune --yes, pgark keep; not on the database's host"
	case agent.Repairer:
		return "pgark verify --repair, pgark repo undelete; not on the database's host"
	case agent.Writer:
	}
	return "pgark run, backup, check, verify, drill"
}
