package agent

import (
	"fmt"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/storage/s3"
)

// minimum is what Amazon bills an object of a storage class for at least.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-class-intro.html
type minimum struct {
	size int64 // bytes
	days int
}

func minimumOf(class string) minimum {
	const small = 128 << 10
	switch class {
	case "STANDARD_IA", "ONEZONE_IA":
		return minimum{small, 30}
	case "GLACIER_IR":
		return minimum{small, 90}
	}
	return minimum{}
}

// classes tells in which storage classes new objects of a repository are put, and where that costs more than it saves.
func (k *check) classes(p *checkedPlace) {
	options, err := s3.ParseURL(p.url)
	if err != nil {
		return // a folder
	}
	if text := describeClasses(p.classes); text != "" {
		k.good(SectionStorage, "%s%s", p.label, text)
	}
	for _, f := range judgeClasses(options.StorageClass, p.classes, k.cluster.Retain.Window) {
		f.Text = p.label + f.Text
		k.report(f)
	}
}

func describeClasses(c config.StorageClasses) string {
	switch {
	case c.Backups != "" && c.WAL != "":
		return "base backups are put in " + c.Backups + ", segments of WAL in " + c.WAL
	case c.Backups != "":
		return "base backups are put in " + c.Backups
	case c.WAL != "":
		return "segments of WAL are put in " + c.WAL
	}
	return ""
}

// judgeClasses says what is wrong with storage classes: all is that of every object that has none of its own.
func judgeClasses(all string, c config.StorageClasses, window time.Duration) []Finding {
	var found []Finding
	const day = 24 * time.Hour
	switch m := minimumOf(all); {
	case all == "GLACIER" || all == "DEEP_ARCHIVE":
		found = append(found, Finding{
			Section: SectionStorage, Verdict: Bad, Text: "storage_class=" + all + " in the URL: nothing could be read back before it is thawed, which takes hours",
			Fix: "take it out of the URL; a lifecycle rule of the bucket may move what is old",
		})
	case m.size > 0:
		found = append(found, Finding{
			Section: SectionStorage, Verdict: Warning,
			Text: fmt.Sprintf("storage_class=%s in the URL is for pieces of WAL too: Amazon bills each, of a few KB and gone within minutes, as 128 KB for %d days", all, m.days),
			Fix:  "take it out of the URL; repo.storage_class.backups and .wal are for the large objects alone",
		})
	}
	for _, one := range []struct{ what, key, class string }{{"base backups", "backups", c.Backups}, {"segments of WAL", "wal", c.WAL}} {
		if m := minimumOf(one.class); window > 0 && window < time.Duration(m.days)*day {
			found = append(found, Finding{
				Section: SectionStorage, Verdict: Warning,
				Text: fmt.Sprintf("%s are kept for about %s (retain.window), and Amazon bills each in %s for %d days at least", one.what, config.FormatDuration(window), one.class, m.days),
				Fix:  "leave repo.storage_class." + one.key + " out, unless base backups of the calendar are most of them",
			})
		}
	}
	return found
}
