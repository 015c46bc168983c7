package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
)

// condition is what a room's sentinel means to a person.
type condition struct {
	is         error
	code       int
	cause, fix string
}

// conditions are tried in order.
func conditions() []condition {
	return []condition{
		{agent.ErrURL, exitUsage, "", urlForms()},
		{agent.ErrRegion, exitUsage, "the region in the URL is not the one the bucket lies in", "write the bucket's own: s3://bucket/prefix?region=REGION"},
		{
			agent.ErrCertificate, exitStorage, "no authority that this host knows vouches for the server",
			"AWS_CA_BUNDLE=FILE names the certificate to trust; or correct the endpoint",
		},
		{
			agent.ErrNoAgent, exitFailed, "without the WAL that an agent archives the backup could not be restored",
			"start pgark run beside the server, or wait for it with --wait",
		},
		{agent.ErrEmpty, exitNoRepository, "", "pgark run archives a cluster into it"},
		{agent.ErrOtherWAL, exitLocked, "a clone, or a server that was set back, archives here too", "docs/FAILURES.md says how to tell which is right"},
		{backup.ErrPageChecksums, exitDegraded, "the server read pages whose checksum is wrong: its disk or memory is failing", "keep the older backups; find the pages with pg_amcheck and pg_checksums"},
		{backup.ErrWALMissing, exitFailed, "WAL of the backup was never archived", "see that pgark run works, and take the backup again"},
		{
			storage.ErrNoLock, exitUsage, "repo.lock is configured, and the bucket has no Object Lock: nothing is stored that would not be locked",
			"pgark repo policy --bucket-policy   prints the commands that turn it on; or leave repo.lock out",
		},
		{storage.ErrNoStore, exitNoRepository, "there is no such bucket", "create it (versioning on), or correct the repository URL"},
		{
			storage.ErrArchived, exitNotRecoverable, "it was moved to an archive class, by a lifecycle rule of the bucket perhaps: it is whole, and can be read when it is thawed",
			"pgark repo thaw, with the target of the restore, shows what must be thawed; with --yes it has it thawed",
		},
		{
			storage.ErrDenied, exitDenied, "the credential is unknown to the store, or may not do this",
			"check AWS_PROFILE, the AWS_ variables or the instance's role; it needs GetObject, PutObject and ListBucket here; a role must trust who assumes it",
		},
		{storage.ErrExpired, exitDenied, "the credential has expired", "renew it"},
		{storage.ErrSkewed, exitStorage, "this host's clock differs too much from the store's", "set the clock (NTP)"},
		{
			agent.ErrSilent, exitStorage, "the store did not answer, or not as it should, and has not since the command began",
			"check network and endpoint; pgark check measures it; --timeout 40s waits longer for the first answer",
		},
		{storage.ErrUnavailable, exitStorage, "the store did not answer, or not as it should", "check network and endpoint; pgark check measures it"},
		{
			postgres.ErrNotReplication, exitDenied, "the role has no REPLICATION attribute, or pg_hba.conf no replication line for it",
			"ALTER ROLE … REPLICATION; and in pg_hba.conf a line like: local replication ROLE peer",
		},
		{postgres.ErrPrivilege, exitDenied, "the role may not change that setting", "pgark check shows the GRANT"},
		{
			postgres.ErrNoRole, exitDenied, "the server has no role of that name, or it may not log in",
			"pgark init --apply, as a superuser, makes it; pgark init --print-sql prints the SQL",
		},
		{postgres.ErrAuth, exitDenied, "PostgreSQL refused the user or the password", "check user, PGPASSWORD or ~/.pgpass, and pg_hba.conf"},
		{postgres.ErrShuttingDown, exitPostgres, "PostgreSQL is starting, stopping or recovering", "try again when it accepts connections"},
		{postgres.ErrTooManyConnections, exitPostgres, "all walsenders or connections are taken", "raise max_wal_senders, or end one"},
		{postgres.ErrUnreachable, exitPostgres, "no PostgreSQL answered there", "check host, port or socket folder (postgres: in the file, PGHOST, PGPORT), and that it runs"},
		{
			postgres.ErrSlotActive, exitLocked, "another program receives from this replication slot: probably another agent",
			"run one agent per cluster, or give each its own slot.name",
		},
		{
			postgres.ErrSlotInvalidated, exitFailed, "the slot kept more WAL than max_slot_wal_keep_size allows, or was idle for too long",
			"pgark run makes a new one, records what WAL is lost, and takes a base backup",
		},
		{postgres.ErrSlotUnusable, exitFailed, "the slot is a logical one", "give pgark a slot of its own: slot.name in the file"},
		{postgres.ErrNotInHistory, exitLocked, "the server's history is not the archived one", "docs/FAILURES.md says how to tell which is right"},
		{postgres.ErrWALRemoved, exitFailed, "the server has removed WAL that was not archived", "pgark run records what is lost, and takes a new base backup"},
		{
			repository.ErrPlain, exitWrongKey, "somebody encrypts what is archived here; in clear it may not be put beside it",
			"set repo.encryption.recipients_file to the public keys; docs/CONFIGURATION.md, Encryption",
		},
		{repository.ErrNoRepository, exitNoRepository, "nothing was archived there yet, or the URL is not right", "pgark run --repo URL makes one; pgark check tests it"},
		{
			retention.ErrChanged, exitRefused, "what was to go is needed by now: it was pinned, or somebody reads", "pgark prune again makes a new plan",
		},
		{
			retention.ErrTooMuch, exitRefused, "retain.window is shorter than before, or nothing was pruned for long: the agent does not remove so much by itself",
			"pgark prune shows what would go; pgark prune --yes removes it",
		},
		{
			retention.ErrIncomplete, exitRefused, "the store does not list all that it holds: nothing can be decided by that",
			"pgark prune again later; if that stays so, the store is faulty",
		},
		{repository.ErrNoBackup, exitNotRecoverable, "", "pgark list shows the backups"},
	}
}

// explainRoom finds code, cause and fix of an error that came from a room.
func explainRoom(err error, f *failure) {
	if explainTyped(err, f) {
		return
	}
	for _, c := range conditions() {
		if errors.Is(err, c.is) {
			f.Code, f.Cause, f.Fix = c.code, c.cause, c.fix
			if errors.Is(c.is, storage.ErrDenied) {
				explainDenied(err, f)
			}
			return
		}
	}
	var timeout *timeoutError
	if errors.As(err, &timeout) {
		f.Fix = "give a longer --timeout"
		return
	}
	if systemCause(err, f) {
		return
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		f.Fix = "check the path"
	case errors.Is(err, os.ErrExist):
		f.Fix = "choose another name, or move away what is there"
	}
}

// explainKeyFile explains a file with keys that cannot be used.
func explainKeyFile(e *agent.KeyFileError, f *failure) {
	f.Code, f.Cause = exitWrongKey, "without it nothing can be encrypted, or nothing encrypted be read; nothing was done"
	switch {
	case errors.Is(e, agent.ErrKeyMode):
		f.Fix = "chmod 600 " + quoteWord(e.Path)
	case errors.Is(e, os.ErrNotExist):
		f.Fix = "bring the file back from where its copy is kept, or correct the path"
	case errors.Is(e, os.ErrPermission):
		f.Fix = "give it to the user that pgark runs as: chown, and chmod 600"
	default:
		f.Fix = "docs/CONFIGURATION.md, Encryption, says what it must hold"
	}
}

// explainKey explains an object that cannot be opened.
func explainKey(e *repository.KeyError, f *failure) {
	f.Code = exitWrongKey
	if errors.Is(e, repository.ErrNoProof) {
		f.Cause = "whether the server has the WAL that is archived cannot be told here, and archiving on top of other WAL would spoil it"
		f.Fix = "give this host the proof key that was in use: repo.encryption.proof_key_file, below a new one; or a private key: repo.encryption.identity_file"
		return
	}
	if e.NoKey() {
		f.Cause = "contents are encrypted in this repository"
		f.Fix = "name the file with the private key: repo.encryption.identity_file, or PGARK_ENCRYPTION_IDENTITY_FILE"
		return
	}
	f.Cause = "it was encrypted to other public keys: before or after the keys were changed, or this is the key of another repository"
	f.Fix = "put the private key that belongs to it into the identity file too: one on each line, in any order"
}

// explainTyped explains the errors that carry data.
func explainTyped(err error, f *failure) bool {
	var format *repository.FormatError
	var corrupt *repository.CorruptError
	var foreign *archiver.ForeignError
	var other *agent.OtherRepositoryError
	var emptied *agent.EmptiedError
	var lacking *agent.LackingError
	switch {
	case explainAsked(err, f), explainRestore(err, f), explainFence(err, f), explainListen(err, f):
	case errors.As(err, &lacking):
		f.Code, f.Cause = exitNotRecoverable, "objects are missing or cut: they were deleted, or the copy is not complete yet"
	case errors.As(err, &other):
		f.Code = exitRefused
		f.Cause = "two archives in one configuration: what one holds cannot be completed from the other"
		f.Fix = "give the copy an empty place; pgark repo copy --to " + other.Copy + " fills it"
	case errors.As(err, &emptied):
		f.Code = exitRefused
		f.Cause = "a new repository there would have nothing to do with the copy, and the copy would stop"
		f.Fix = "pgark repo copy --from " + emptied.Copy + " --to primary   brings it back; or correct the URL"
	case errors.As(err, &foreign):
		f.Code = exitRefused
		f.Cause = "this repository belongs to another cluster; mixing two would make both hard to restore"
		f.Fix = fmt.Sprintf("give this cluster a repository of its own, or, after pg_upgrade: pgark run --adopt %s", foreign.Server)
	case errors.As(err, &format):
		f.Code, f.Fix = exitRefused, "install a pgark that knows this format"
	case errors.As(err, &corrupt):
		f.Cause = "the object is not what was written"
		f.Fix = "a versioned bucket may still hold the right one; restore to a target that does not need it"
	default:
		return false
	}
	return true
}

// explainAsked explains what is wrong with a configuration, a command line or the keys.
func explainAsked(err error, f *failure) bool {
	var connection *agent.ConnectionError
	var policy *agent.PolicyError
	var several *agent.AmbiguousError
	var key *repository.KeyError
	var keyFile *agent.KeyFileError
	var early *agent.ArchiveError
	var plain *agent.PlainError
	var file *config.FileError
	switch {
	case errors.As(err, &file):
		f.Code, f.Fix = exitUsage, fileFix(file)
	case errors.As(err, &early):
		f.Code, f.Cause = exitUsage, "who restores within the window expects to begin at once; the base backup of its oldest instant is that much older"
		f.Fix = fmt.Sprintf("repo.archive.after: %dd or more, or 0", early.Least)
	case errors.As(err, &plain):
		f.Cause = "somebody puts contents there without the public keys, or took away pgark-encryption.json, by which a pgark without them is refused"
		f.Fix = "find out who writes there without repo.encryption.recipients_file; what lies in clear stays so until retention lets it go"
	case errors.As(err, &keyFile):
		explainKeyFile(keyFile, f)
	case errors.As(err, &key):
		explainKey(key, f)
	case errors.As(err, &connection):
		f.Code, f.Fix = exitUsage, "docs/CONFIGURATION.md says what it may be"
	case errors.As(err, &policy):
		f.Code, f.Fix = exitUsage, "docs/CONFIGURATION.md, synchronous mode"
	case errors.As(err, &several):
		f.Code, f.Fix = exitUsage, "name one with --system-id"
	default:
		return false
	}
	return true
}

// fileFix says what to do about a configuration file that cannot be read.
func fileFix(e *config.FileError) string {
	switch {
	case errors.Is(e, os.ErrNotExist):
		return "correct the path (--config, PGARK_CONFIG); pgark init writes a file"
	case errors.Is(e, os.ErrPermission):
		return "run as the user who may read it (often postgres), or let this user: chgrp, chmod 640"
	}
	return "name a file of settings with --config, or PGARK_CONFIG"
}

// explainRestore explains what a restore refuses.
func explainRestore(err error, f *failure) bool {
	var target *restore.TargetError
	var space *restore.SpaceError
	var refused *restore.RefusedError
	var binaries *restore.BinariesError
	var proof *restore.ProofError
	var gap *restore.GapError
	var damage *restore.DamageError
	var access *restore.AccessError
	var server *restore.ServerError
	var tablespace *restore.TablespaceError
	switch {
	case errors.As(err, &tablespace):
		f.Code, f.Cause = exitRefused, "the tablespace was made after the base backup, so replay makes it where it lay and takes over what is there: also the files of a server that still runs on this host"
		f.Fix = "on another host, or where nothing needs what lies there: make " + tablespace.Path + " an empty folder of the server's user\n" +
			"or restore to a target before it: --to-lsn " + tablespace.At.String() + " --before"
	case errors.As(err, &access):
		f.Cause = "no role that the restored cluster knows may log in, so that nobody can ask it where recovery stopped; it was stopped again"
		f.Fix = "give one LOGIN in single-user mode (postgres --single -D DIR postgres), or restore without --start"
	case errors.As(err, &damage):
		f.Code, f.Cause = exitNotRecoverable, "WAL that the target needs is not what was written, in every repository that was asked"
		f.Fix = "restore to a target before it: --to-lsn " + damage.Range.Start.String() + " --before; or behind the end of a newer base backup\n" +
			"docs/runbooks/damage.md says where the right object may still be"
	case errors.As(err, &target):
		f.Message, f.Code, f.Fix = target.Why(), exitNotRecoverable, nearest(target)
		f.Cause = strings.Join(target.Notes, "\n")
	case errors.As(err, &space):
		f.Code, f.Fix = exitRefused, "free space there, or restore elsewhere with --into"
		if space.Dir != "" {
			f.Message = fmt.Sprintf("no space in %s: the restore needs %s there, %s are free", space.Dir, size(int64(space.Needed)), size(int64(space.Free)))
		}
	case errors.As(err, &refused):
		f.Code, f.Fix = exitRefused, "choose another folder with --into or --tablespace; or stop what runs there, and move what lies there away"
		if len(refused.Flags) > 0 {
			f.Message, f.Fix = "restore refused: "+refused.Reason, "add "+strings.Join(refused.Flags, " ")
		}
	case errors.As(err, &binaries):
		f.Code = exitUsage
		f.Cause = "a cluster is recovered by the server of its own major version only"
		f.Fix = fmt.Sprintf("install PostgreSQL %d, name its programs with --bin-dir, or restore without --start", binaries.Major)
	case errors.As(err, &proof):
		f.Cause = "the server does not show what the plan says; it was stopped again"
		f.Fix = "keep the folder and report this: it must not happen"
	case errors.As(err, &server) && errors.Is(err, syscall.ENOSPC):
		f.Code, f.Cause, f.Fix = exitRefused, "the file system is full", "free space there first"
	case errors.As(err, &gap):
		f.Code, f.Fix = exitNotRecoverable, "pgark list shows the gaps, and what can be restored"
	default:
		return false
	}
	return true
}

// explainFence explains why an archiver stops for good.
func explainFence(err error, f *failure) bool {
	var size *archiver.SegmentSizeError
	switch {
	case explainHistory(err, f):
	case errors.As(err, &size):
		f.Code, f.Fix = exitRefused, "give this cluster a repository of its own"
	default:
		return false
	}
	return true
}

// asTarget says an instant as the flag that restores to it.
func asTarget(i *restore.Instant) string {
	if i.Time == 0 {
		return "--to-lsn " + i.LSN.String()
	}
	return fmt.Sprintf("--to '%s'   (lsn %s)", moment(i.Time.Go()), i.LSN)
}

// nearest names the instants beside a target that can be restored.
func nearest(e *restore.TargetError) string {
	var lines []string
	if e.NearestBefore != nil {
		lines = append(lines, "nearest before: "+asTarget(e.NearestBefore))
	}
	if e.NearestAfter != nil {
		lines = append(lines, "nearest after: "+asTarget(e.NearestAfter))
	}
	if e.Reason == restore.ReasonTooLate {
		lines = append(lines, "the end of the archive: --to latest")
	}
	if len(e.Timelines) > 0 {
		var names []string
		for _, tli := range e.Timelines {
			names = append(names, fmt.Sprintf("--timeline %d", uint32(tli)))
		}
		lines = append(lines, "choose "+strings.Join(names, " or "))
	}
	if len(lines) == 0 {
		return "pgark list shows what can be restored"
	}
	return strings.Join(lines, "\n")
}
