package agent

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
)

// Role is what a credential is for.
type Role string

// The roles. None may lose what it wrote, or what another wrote: where the bucket keeps versions a janitor's deletion hides an object.
const (
	// Writer archives: the agent, base backups, checks, drills that record what they found, copies.
	Writer Role = "writer"
	// Reader restores and looks, also at what was.
	Reader Role = "reader"
	// Janitor lets go what need not be kept, and pins what must be.
	Janitor Role = "janitor"
	// Repairer puts right what is damaged, and brings back what was deleted: verify --repair, repo undelete.
	Repairer Role = "repairer"
)

// Roles are all roles, the usual first.
func Roles() []Role { return []Role{Writer, Reader, Janitor, Repairer} }

// ErrNoPolicy means that a store knows no policies: a folder has an owner and modes.
var ErrNoPolicy = errors.New("a folder has no policies")

// Grant are the policies of a bucket and of one role in it.
type Grant struct {
	Identity s3.Policy
	Bucket   s3.Policy
	// RoleARN is the role that the URL assumes, empty if none.
	RoleARN string
	// Endpoint is that of the URL or the environment, empty if neither names one.
	Endpoint string
	// PlainHTTP says that the store is reached without TLS, so that Bucket does not ask for it.
	PlainHTTP bool
	// KeyHidden says that objects are encrypted with a KMS key that the URL does not name.
	KeyHidden bool
	// Lock are the commands by which the bucket's owner has it lock new objects by itself, as Need.Lock says; none without that.
	Lock []string
}

// Need is what there is in a repository beside the usual, that a credential must cope with. The zero value is nothing.
type Need struct {
	// Replicated says that the bucket makes a copy by itself, which who looks at it asks the bucket about.
	Replicated bool
	// Lock is that of new objects.
	Lock storage.Lock
	// SendLock says that the bucket does not give that lock by itself: who creates objects sends it.
	SendLock bool
	// RemoveVersions says that the janitor removes older versions for good.
	RemoveVersions bool
}

// Least returns the least that a role needs at the store of a repository URL. It returns ErrNoPolicy for a folder, talks to nobody, and reads
// the AWS environment.
func Least(ctx context.Context, repoURL string, role Role, n Need) (Grant, error) {
	if u, err := url.Parse(repoURL); err == nil && u.Scheme == "file" {
		return Grant{}, fmt.Errorf("%s: %w", repoURL, ErrNoPolicy)
	}
	o, err := s3.ParseURL(repoURL)
	if err == nil {
		o, err = o.Located(ctx)
	}
	if err != nil {
		return Grant{}, err
	}
	var commands []string
	if !n.Lock.IsZero() {
		commands = o.LockCommands(n.Lock)
	}
	return Grant{
		Lock:     commands,
		Identity: o.IdentityPolicy(access(role, n)), Bucket: o.BucketPolicy(), RoleARN: o.Role, Endpoint: o.Endpoint,
		PlainHTTP: o.PlainHTTP(), KeyHidden: strings.HasPrefix(o.SSEType, "aws:kms") && o.KMSKeyID == "",
	}, nil
}

func access(role Role, n Need) s3.Access {
	a := s3.Access{Replication: n.Replicated, Lock: n.Lock, SendLock: n.SendLock && !n.Lock.IsZero() && role != Reader}
	switch role {
	case Reader:
		a.Older = true // who restores must get at what was deleted, or put over, by whoever has the writer's key
	case Writer:
		a.Lifecycle = true
		a.Create, a.Versioning = []string{"*"}, true
	case Janitor:
		a.Create = []string{repository.ExpiryKeys, repository.PinKeys}
		a.Uploads = true
		a.ExtendLock = !n.Lock.IsZero()
		a.OlderDelete = n.RemoveVersions
		a.Delete = []string{"*/*"} // all that is of a cluster; the repository's own record is not
	case Repairer:
		a.Create, a.Replace, a.Older = []string{"*"}, true, true
	}
	return a
}
