package main

import (
	"errors"
	"strings"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/storage"
)

// explainDenied names the permission that a known credential lacks in a bucket, and the command that prints the policy with it; of a folder, whose
// it is. A credential that the bucket does not know, and a role that may not be assumed, are explained otherwise.
func explainDenied(err error, f *failure) {
	var e *storage.Error
	if !errors.As(err, &e) || !errors.Is(e.Err, storage.ErrDenied) {
		return
	}
	if folder, is := strings.CutPrefix(e.Place, "file://"); is {
		f.Cause = "the folder, or what lies in it, is another user's"
		f.Fix = "ls -ld " + quoteWord(folder) + "   shows whose; run pgark as that user: sudo -u OWNER pgark …"
		return
	}
	if !strings.HasPrefix(e.Place, "s3://") {
		return
	}
	if !strings.HasPrefix(e.Detail, "403 AccessDenied") && !strings.HasPrefix(e.Detail, "403 Forbidden") {
		return
	}
	action, on, role := permission(e)
	if action == "" {
		return
	}
	f.Cause = "the credential lacks " + action + " on " + on + "; or a policy of the bucket, of the key or of the organisation denies it"
	command := "pgark repo policy "
	if role != agent.Writer {
		command += "--role " + string(role) + " "
	}
	f.Fix = command + quoteWord(e.Place) + "   prints the policy to attach"
	if strings.HasSuffix(e.Detail, "sent with a lock") {
		f.Cause = "the bucket does not lock new objects as repo.lock says, or does not tell; and the credential lacks s3:PutObjectRetention or " + action + " on " + on
		f.Fix = "pgark repo policy --bucket-policy   prints how the bucket locks them by itself; " + command + "--lock-headers   the policy with the right to lock"
		return
	}
	switch e.Op {
	case "get", "stat", "list":
		f.Fix += "; with --role reader that of who restores alone"
	case "versions":
		f.Fix += "; with --role janitor that of who prunes, where retain.versions is remove or objects come under lock"
	}
}

// permission returns the S3 action that an operation needs, what it needs it on, and the role that has it.
func permission(e *storage.Error) (action, on string, role agent.Role) {
	objects := e.Place + "/*"
	bucket, _, _ := strings.Cut(strings.TrimPrefix(e.Place, "s3://"), "/")
	bucket = "s3://" + bucket
	switch e.Op {
	case "put", "begin", "part", "commit", "probe":
		return "s3:PutObject", objects, agent.Writer
	case "abort":
		return "s3:AbortMultipartUpload", objects, agent.Writer
	case "get":
		return "s3:GetObject", objects, agent.Writer
	case "stat":
		return "s3:GetObject, or s3:ListBucket,", objects, agent.Writer
	case "list":
		return "s3:ListBucket", bucket, agent.Writer
	case "delete":
		return "s3:DeleteObject", objects, agent.Janitor
	case "versions":
		return "s3:ListBucketVersions", bucket, agent.Reader
	case "renew":
		return "s3:GetObjectVersion, or s3:PutObject without a condition,", objects, agent.Repairer
	case "remove":
		return "s3:DeleteObjectVersion", objects, agent.Janitor
	case "supersede", "versioning":
		return "s3:GetBucketVersioning", bucket, agent.Repairer
	case "lock":
		if e.Key == "" {
			return "s3:GetBucketObjectLockConfiguration", bucket, agent.Writer
		}
		return "s3:PutObjectRetention, or s3:GetObjectRetention,", objects, agent.Janitor
	case "replication":
		return "s3:GetReplicationConfiguration", bucket, agent.Writer
	default:
		return "", "", ""
	}
}
