package agent

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/pgark/pgark/storage"
)

// versions looks whether the buckets keep versions, without which whoever has a key that deletes, or puts over, destroys what is there.
func (k *check) versions(ctx context.Context) {
	for _, p := range k.places {
		if strings.HasPrefix(p.url, "s3:") && !p.closed { // why it could not be opened is said already
			versioning, err := storage.BucketVersioning(ctx, p.store)
			f := p.judgeVersioning(versioning, err)
			if !k.cluster.Repo.NeedsVersions(p.name) {
				f = waived(f)
			}
			k.report(f)
		}
	}
}

// judgeVersioning says what a bucket's versioning, or the error of asking for it, is worth.
func (p *checkedPlace) judgeVersioning(versioning storage.Versioning, err error) Finding {
	f := Finding{Section: SectionStorage, Verdict: Bad, Fix: p.enableVersioning()}
	const lost = ": what is deleted or put over there is lost at once, by whose hand ever"
	switch {
	case err == nil && versioning == storage.VersioningEnabled:
		return Finding{Section: SectionStorage, Verdict: Good, Text: p.label + "versioning on: what is deleted or put over can be brought back"}
	case err == nil && versioning == storage.VersioningSuspended:
		f.Text = "versioning is suspended" + lost
	case err == nil:
		f.Text = "versioning is off" + lost
	case errors.Is(err, errors.ErrUnsupported):
		f.Text, f.Fix = "the store knows no versioning"+lost, "use another store, or say that you accept it: repo.unversioned: "+p.name
	case errors.Is(err, storage.ErrDenied):
		f.Verdict = Warning
		f.Text, f.Fix = "whether the bucket keeps versions is not known: this credential may not ask", "allow s3:GetBucketVersioning: pgark repo policy prints it"
	default:
		f.Verdict = Warning
		f.Text, f.Fix = "whether the bucket keeps versions is not known: "+err.Error(), ""
	}
	f.Text = p.label + f.Text
	return f
}

// waived is what a finding comes to where the configuration does without versions.
func waived(f Finding) Finding {
	if f.Verdict != Good {
		f.Verdict, f.Fix = Good, ""
		f.Text += " (waived by repo.unversioned)"
	}
	return f
}

// enableVersioning is the command that turns versioning on.
func (p *checkedPlace) enableVersioning() string {
	u, err := url.Parse(p.url)
	if err != nil {
		return ""
	}
	command := "aws s3api put-bucket-versioning --bucket " + u.Host + " --versioning-configuration Status=Enabled"
	if endpoint := u.Query().Get("endpoint"); endpoint != "" {
		command += " --endpoint-url " + endpoint
	}
	return command
}
