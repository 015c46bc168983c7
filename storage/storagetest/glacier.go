package storagetest

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Glacier is what a bucket of Amazon S3 does and versitygw does not: objects in archive classes, which are listed and not given before they are
// thawed, and the answer to GetBucketLifecycleConfiguration. It stands before a server as the Fault of a Proxy. It is safe for concurrent use.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/archived-objects.html
type Glacier struct {
	mu        sync.Mutex
	frozen    []frozen
	asked     map[string]string    // what was sent to thaw an object, by its path
	thawed    map[string]time.Time // until when, by path
	lifecycle string               // the document; "" for none
	least     string               // from which size on objects are moved, as the answer's header says; "" for no header
}

type frozen struct{ pattern, class string }

// NewGlacier returns one that holds no object and has no lifecycle.
func NewGlacier() *Glacier {
	return &Glacier{asked: map[string]string{}, thawed: map[string]time.Time{}, least: "all_storage_classes_128K"}
}

// tiering is the class of objects that move by themselves. Those that Freeze moves there are not archived, which HEAD alone tells.
const tiering = "INTELLIGENT_TIERING"

// Freeze moves all objects, those to come as well, whose /bucket/key matches the pattern to a class, with all their versions.
func (g *Glacier) Freeze(pattern, class string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = append(g.frozen, frozen{pattern, class})
}

// Finish makes all objects readable that were asked to be.
func (g *Glacier) Finish() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for path, body := range g.asked {
		if g.thawed[path].IsZero() {
			g.thawed[path] = expiry(body)
		}
	}
}

// expiry is until when an object stays readable whose thawing was asked for with body: midnight UTC, some days from now.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects.html
func expiry(body string) time.Time {
	var request struct{ Days int }
	if xml.Unmarshal([]byte(body), &request) != nil {
		return time.Time{}
	}
	return time.Now().UTC().AddDate(0, 0, request.Days+1).Truncate(24 * time.Hour)
}

// Asked returns what was asked for, by the paths of the objects: the body of each request.
func (g *Glacier) Asked() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[string]string{}
	for path, body := range g.asked {
		all[path] = body
	}
	return all
}

// SetLifecycle sets the rules of all buckets: the content of <LifecycleConfiguration>.
func (g *Glacier) SetLifecycle(rules string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lifecycle = rules
}

// SetLeastMoved sets what the bucket says of the size from which on it moves objects: all_storage_classes_128K, which is the default,
// varies_by_storage_class, or, as stores that are not Amazon's, nothing.
func (g *Glacier) SetLeastMoved(least string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.least = least
}

// class returns the archive class that an object is in, "" if in none.
func (g *Glacier) class(path string) string {
	for _, f := range g.frozen {
		if matches(f.pattern, path) {
			return f.class
		}
	}
	return ""
}

// Fault answers as the bucket would.
func (g *Glacier) Fault() Fault {
	return func(x *exchange) error {
		g.mu.Lock()
		class, body, lifecycle, least := g.class(x.path), g.asked[x.path], g.lifecycle, g.least
		until := g.thawed[x.path]
		asked, thawed := body != "", until.After(time.Now())
		g.mu.Unlock()
		query := x.r.URL.Query()
		switch {
		case x.op == List, x.op == Other && x.r.Method == http.MethodGet && query.Has("versions"):
			return x.pass(func(resp *http.Response) { g.tell(resp, x.r.URL.Path) })
		case x.op == Other && x.r.Method == http.MethodGet && query.Has("lifecycle"):
			return describeLifecycle(x, lifecycle, least)
		case x.op == Get && class != "" && class != tiering && !thawed:
			return Answer(http.StatusForbidden, "InvalidObjectState")(x)
		case x.op == Head && class != "":
			return x.pass(func(resp *http.Response) {
				resp.Header.Set("X-Amz-Storage-Class", class)
				switch {
				case thawed:
					resp.Header.Set("X-Amz-Restore", `ongoing-request="false", expiry-date="`+until.Format(http.TimeFormat)+`"`)
				case asked:
					resp.Header.Set("X-Amz-Restore", `ongoing-request="true"`)
				}
			})
		case x.r.Method == http.MethodPost && query.Has("restore"):
			return g.restore(x, class)
		}
		return Pass()(x)
	}
}

// restore answers RestoreObject.
func (g *Glacier) restore(x *exchange, class string) error {
	body, err := io.ReadAll(x.r.Body)
	g.mu.Lock()
	defer g.mu.Unlock()
	thawed := g.thawed[x.path].After(time.Now())
	switch {
	case err != nil:
		return err
	case class == "":
		return Answer(http.StatusForbidden, "InvalidObjectState")(x)
	case g.asked[x.path] != "" && !thawed:
		return Answer(http.StatusConflict, "RestoreAlreadyInProgress")(x)
	}
	g.asked[x.path] = string(body)
	status := http.StatusAccepted
	if thawed { // the time alone is set anew
		g.thawed[x.path], status = expiry(string(body)), http.StatusOK
	}
	x.w.WriteHeader(status)
	return nil
}

// tell puts the classes into the answer to a List of a bucket, or of its versions.
func (g *Glacier) tell(resp *http.Response, path string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return // the connection is cut
	}
	key := regexp.MustCompile(`<Key>([^<]*)</Key>`)
	body = regexp.MustCompile(`(?s)<Contents>.*?</Contents>|<Version>.*?</Version>`).ReplaceAllFunc(body, func(entry []byte) []byte {
		name := key.FindSubmatch(entry)
		if name == nil {
			return entry
		}
		class := g.class(strings.TrimSuffix(path, "/") + "/" + string(name[1]))
		if class == "" {
			return entry
		}
		entry = regexp.MustCompile(`<StorageClass>[^<]*</StorageClass>`).ReplaceAll(entry, nil)
		return bytes.Replace(entry, []byte("</Key>"), []byte("</Key><StorageClass>"+class+"</StorageClass>"), 1)
	})
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
}

// describeLifecycle answers GetBucketLifecycleConfiguration.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLifecycleConfiguration.html
func describeLifecycle(x *exchange, rules, least string) error {
	if rules == "" {
		return Answer(http.StatusNotFound, "NoSuchLifecycleConfiguration")(x)
	}
	x.w.Header().Set("Content-Type", "application/xml")
	if least != "" {
		x.w.Header().Set("X-Amz-Transition-Default-Minimum-Object-Size", least)
	}
	_, err := fmt.Fprintf(x.w, `<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">%s</LifecycleConfiguration>`, rules)
	return err
}
