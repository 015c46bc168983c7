package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// PlainError says that contents were put in clear into a repository after their encryption had begun. Nothing of pgark does that.
type PlainError struct {
	Objects []string // the first of them
	Total   int
}

// Error names the first.
func (e *PlainError) Error() string {
	return fmt.Sprintf("%d objects were put in clear after encryption had begun, the first: %s", e.Total, e.Objects[0])
}

// encryption tells what is encrypted and to how many keys, what this host could read, and what lies in clear all the same.
func (k *check) encryption(ctx context.Context) {
	if !k.keys.Recipients.Empty() {
		k.recipients()
		k.host()
	}
	opened := k.keys.Identities.Empty()
	for _, p := range k.places {
		cluster, f, err := k.holdings(ctx, p)
		if err != nil {
			continue // other lines tell why a repository cannot be read, or that nothing is in it
		}
		k.encrypted(p, f.report.Encryption)
		if !opened {
			opened = k.opens(ctx, cluster, f.backups)
		}
	}
}

// recipients tells to how many keys contents are encrypted: with one alone the archive is lost with it.
func (k *check) recipients() {
	file := k.cluster.Repo.Encryption.RecipientsFile
	if n := k.keys.Recipients.Count(); n > 1 {
		k.good(SectionStorage, "contents are encrypted to %d public keys (%s)", n, file)
		return
	}
	k.report(Finding{
		Section: SectionStorage, Verdict: Warning, Text: "contents are encrypted to one public key: who loses its private key loses the archive",
		Fix: "add the public key of a recovery key, kept offline, to " + file,
	})
}

// host tells what who takes this host could read. One that holds drills needs a private key.
func (k *check) host() {
	const holds = "this host holds a private key: whoever takes it can read the archive"
	switch {
	case k.keys.Identities.Empty():
		k.good(SectionStorage, "this host holds public keys and a proof key alone: whoever takes it cannot read the archive")
	case k.cluster.Drill.Dir != "" && k.cluster.Drill.Schedule != config.Off:
		k.good(SectionStorage, holds+"; its drills need one")
	default:
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning, Text: holds,
			Fix: "set repo.encryption.proof_key_file (`openssl rand -hex 32` makes one) instead of identity_file, and keep the private key where restores are made",
		})
	}
}

// encrypted tells what lies in clear in a repository although contents are encrypted, or were to be.
func (k *check) encrypted(p *checkedPlace, e *status.Encryption) {
	configured := !k.keys.Recipients.Empty()
	switch {
	case e == nil && configured:
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning, Text: p.label + "nothing that is archived here is encrypted yet",
			Fix: "pgark run encrypts what it archives from now on; then pgark backup, and what lies in clear goes with retention",
		})
	case e == nil:
	case !configured && k.keys.Identities.Empty():
		k.bad(SectionStorage, p.says(repository.ErrPlain))
	case e.LateTotal > 0:
		k.bad(SectionStorage, p.says(&PlainError{e.Late, e.LateTotal}))
	case e.PlainBackups > 0 || e.PlainWAL > 0:
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning,
			Text: fmt.Sprintf("%sin clear, from before encryption began: %d base backups and %d WAL objects, %s", p.label, e.PlainBackups, e.PlainWAL,
				humanize.Bytes(uint64(max(0, e.PlainBytes)))),
			Fix: "they go with retention, once base backups that are encrypted carry the window",
		})
	}
}

// opens tells whether the private keys here open the newest base backup that is encrypted. It is false if there is none.
func (k *check) opens(ctx context.Context, cluster *repository.Cluster, backups []repository.Backup) bool {
	for _, b := range slices.Backward(backups) {
		if !b.Sealed() {
			continue
		}
		err := cluster.CanOpenBackup(ctx, b)
		var locked *repository.KeyError
		switch {
		case err == nil:
			k.good(SectionStorage, "the private keys here open base backup %s", b.ID)
		case errors.As(err, &locked):
			k.bad(SectionStorage, err)
		default:
			return false // damaged: verify tells
		}
		return true
	}
	return false
}
