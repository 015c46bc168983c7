package storagetest

import (
	"bytes"
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
	asked     map[string]string // what was sent to thaw an object, by its path
	thawed    map[string]bool
	lifecycle string // the document; "" for none
	least     string // from which size on objects are moved, as the answer's header says; "" for no header
}

type frozen struct{ pattern, class string }

// NewGlacier returns one that holds no object and has no lifecycle.
func NewGlacier() *Glacier {
	return &Glacier{asked: map[string]string{}, thawed: map[string]bool{}, least: "all_storage_classes_128K"}
}

// Freeze moves all objects, those to come as well, whose /bucket/key matches the pattern to a class.
func (g *Glacier) Freeze(pattern, class string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = append(g.frozen, frozen{pattern, class})
}

// Finish makes all objects readable that were asked to be.
func (g *Glacier) Finish() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for path := range g.asked {
		g.thawed[path] = true
	}
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
		asked, thawed := body != "", g.thawed[x.path]
		g.mu.Unlock()
		query := x.r.URL.Query()
		switch {
		case x.op == List:
			return x.pass(func(resp *http.Response) { g.tell(resp, x.r.URL.Path) })
		case x.op == Other && x.r.Method == http.MethodGet && query.Has("lifecycle"):
			return describeLifecycle(x, lifecycle, least)
		case x.op == Get && class != "" && !thawed:
			return Answer(http.StatusForbidden, "InvalidObjectState")(x)
		case x.op == Head && class != "":
			return x.pass(func(resp *http.Response) {
				resp.Header.Set("X-Amz-Storage-Class", class)
				switch {
				case thawed:
					until := time.Now().AddDate(0, 0, 7).UTC().Format(http.TimeFormat)
					resp.Header.Set("X-Amz-Restore", `ongoing-request="false", expiry-date="`+until+`"`)
				case asked:
					resp.Header.Set("X-Amz-Restore", `ongoing-request="true"`)
				}
			})
		case x.r.Method == http.MethodPost && query.Has("restore"):
			return g.restore(x, class, asked && !thawed)
		}
		return Pass()(x)
	}
}

// restore answers RestoreObject.
func (g *Glacier) restore(x *exchange, class string, underway bool) error {
	body, err := io.ReadAll(x.r.Body)
	switch {
	case err != nil:
		return err
	case class == "":
		return Answer(http.StatusForbidden, "InvalidObjectState")(x)
	case underway:
		return Answer(http.StatusConflict, "RestoreAlreadyInProgress")(x)
	}
	g.mu.Lock()
	g.asked[x.path] = string(body)
	g.mu.Unlock()
	x.w.WriteHeader(http.StatusAccepted)
	return nil
}

// tell puts the classes into the answer to a List of a bucket.
func (g *Glacier) tell(resp *http.Response, path string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return // the connection is cut
	}
	key := regexp.MustCompile(`<Key>([^<]*)</Key>`)
	body = regexp.MustCompile(`(?s)<Contents>.*?</Contents>`).ReplaceAllFunc(body, func(entry []byte) []byte {
		name := key.FindSubmatch(entry)
		if name == nil {
			return entry
		}
		class := g.class(strings.TrimSuffix(path, "/") + "/" + string(name[1]))
		if class == "" {
			return entry
		}
		entry = regexp.MustCompile(`<StorageClass>[^<]*</StorageClass>`).ReplaceAll(entry, nil)
		return bytes.Replace(entry, []byte("</Contents>"), []byte("<StorageClass>"+class+"</StorageClass></Contents>"), 1)
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
