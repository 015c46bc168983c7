package storagetest

import (
	"context"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Replication is what a bucket of Amazon S3 does and versitygw does not: it copies new objects to another bucket by itself, some time
// later and in no order, tells how far each has come, and answers GetBucketReplication. It stands before a server as the Fault of a
// Proxy. It is safe for concurrent use.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication.html
type Replication struct {
	from, to *Server
	rules    []ReplicationRule
	changed  chan struct{} // has room for one

	mu      sync.Mutex
	random  *rand.Rand
	held    bool
	failing string // pattern of paths that are not copied
	status  map[string]string
	pending []change
	copying bool
}

// change is an object to be copied, or to be deleted.
type change struct {
	path, to string
	version  string
	gone     bool
}

// ReplicationRule is a rule of a bucket. The first rule that an object matches is the one that counts.
type ReplicationRule struct {
	ID     string
	Prefix string // of the names in the bucket
	Tag    string // the name of a tag that the objects must have
	Bucket string // copied to

	Disabled, Deletes, KMS, TimeControl bool
}

// StartReplication copies what the proxies that have its Fault see created in from to buckets of to, which may be the same server. It
// stops at the end of the test.
func StartReplication(t testing.TB, from, to *Server, rules ...ReplicationRule) *Replication {
	t.Helper()
	const seed = 1
	r := &Replication{
		from: from, to: to, rules: rules, changed: make(chan struct{}, 1), random: rand.New(rand.NewPCG(seed, seed)), //nolint:gosec // an order
		status: map[string]string{},
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.work(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return r
}

// Hold copies nothing from now on, as when the other region is away: objects stay PENDING.
func (r *Replication) Hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = true
}

// Release ends Hold.
func (r *Replication) Release() {
	r.mu.Lock()
	r.held = false
	r.mu.Unlock()
	r.wake()
}

// Fail makes the copying of objects whose /bucket/key matches the pattern fail for good, as a missing permission does; "" ends it for those
// to come.
func (r *Replication) Fail(pattern string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = pattern
}

// Pending is how many changes are not copied yet.
func (r *Replication) Pending() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.copying {
		return len(r.pending) + 1
	}
	return len(r.pending)
}

func (r *Replication) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// work copies what is pending, any one at a time.
func (r *Replication) work(ctx context.Context) {
	for ctx.Err() == nil {
		next, ok := r.next()
		if !ok {
			select {
			case <-ctx.Done():
			case <-r.changed:
			}
			continue
		}
		err := r.copy(ctx, next)
		r.mu.Lock()
		r.copying = false
		switch {
		case err != nil:
			r.pending = append(r.pending, next) // the other region is away, so it is pending again
		case !next.gone:
			r.status[next.path], r.status[next.to] = "COMPLETED", "REPLICA"
		}
		r.mu.Unlock()
		if err != nil {
			pause(ctx)
		}
	}
}

// pause waits a moment, or until ctx ends.
func pause(ctx context.Context) {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// next takes a pending change out.
func (r *Replication) next() (change, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held || len(r.pending) == 0 {
		return change{}, false
	}
	i := r.random.IntN(len(r.pending))
	next := r.pending[i]
	r.pending, r.copying = append(r.pending[:i:i], r.pending[i+1:]...), true
	return next, true
}

func (r *Replication) copy(ctx context.Context, c change) error {
	if c.gone {
		_, _, err := r.to.do(ctx, request{method: http.MethodDelete, path: c.to})
		return err
	}
	get := request{method: http.MethodGet, path: c.path}
	if c.version != "" { // it may have been deleted meanwhile
		get.query = "versionId=" + url.QueryEscape(c.version)
	}
	status, body, err := r.from.do(ctx, get)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("get %s: status %d: %s", c.path, status, body)
	}
	if err != nil {
		return err
	}
	status, body, err = r.to.do(ctx, request{method: http.MethodPut, path: c.to, body: body})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("put %s: status %d: %s", c.to, status, body)
	}
	return err
}

// Fault answers and copies as the bucket would.
func (r *Replication) Fault() Fault {
	return func(x *exchange) error {
		bucket, name, _ := strings.Cut(strings.TrimPrefix(x.r.URL.Path, "/"), "/")
		switch {
		case x.op == Other && x.r.Method == http.MethodGet && x.r.URL.Query().Has("replication"):
			return r.describe(x)
		case x.op == Head || x.op == Get:
			return x.pass(func(resp *http.Response) { r.tell(resp, x.r.URL.Path) })
		case x.op == Put || x.op == Commit || x.op == Delete:
			return x.pass(func(resp *http.Response) {
				if resp.StatusCode < http.StatusMultipleChoices {
					r.note(bucket, name, resp.Header.Get("X-Amz-Version-Id"), x.op)
				}
			})
		}
		return Pass()(x)
	}
}

// tell adds the status of an object to an answer.
func (r *Replication) tell(resp *http.Response, path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if status := r.status[path]; status != "" && resp.StatusCode < http.StatusMultipleChoices {
		resp.Header.Set("X-Amz-Replication-Status", status)
	}
}

// note takes down that an object was created or deleted.
func (r *Replication) note(bucket, name, version string, op Op) {
	gone := op == Delete
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.wake()
	for _, rule := range r.rules {
		if rule.Disabled || rule.Tag != "" || !strings.HasPrefix(name, rule.Prefix) || bucket == rule.Bucket || gone && !rule.Deletes {
			continue
		}
		c := change{path: "/" + bucket + "/" + name, to: "/" + rule.Bucket + "/" + name, version: version, gone: gone}
		switch {
		case r.failing != "" && matches(r.failing, c.path):
			r.status[c.path] = "FAILED"
		case !gone:
			r.status[c.path] = "PENDING"
			fallthrough
		default:
			r.pending = append(r.pending, c)
		}
		return
	}
}

// describe answers GetBucketReplication.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketReplication.html
func (r *Replication) describe(x *exchange) error {
	if len(r.rules) == 0 {
		return Answer(http.StatusNotFound, "ReplicationConfigurationNotFoundError")(x)
	}
	status := map[bool]string{true: "Enabled", false: "Disabled"}
	var b strings.Builder
	b.WriteString(`<ReplicationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Role>arn:aws:iam::111111111111:role/replication</Role>`)
	for i, rule := range r.rules {
		filter := element("Prefix", rule.Prefix)
		if rule.Tag != "" {
			filter = "<And>" + filter + "<Tag>" + element("Key", rule.Tag) + element("Value", "yes") + "</Tag></And>"
		}
		b.WriteString("<Rule>" + element("ID", rule.ID) + element("Priority", fmt.Sprint(len(r.rules)-i)) + element("Status", status[!rule.Disabled]) +
			"<Filter>" + filter + "</Filter><DeleteMarkerReplication>" + element("Status", status[rule.Deletes]) + "</DeleteMarkerReplication>" +
			"<SourceSelectionCriteria><SseKmsEncryptedObjects>" + element("Status", status[rule.KMS]) + "</SseKmsEncryptedObjects></SourceSelectionCriteria>" +
			"<Destination>" + element("Bucket", "arn:aws:s3:::"+rule.Bucket))
		if rule.TimeControl {
			b.WriteString("<ReplicationTime><Status>Enabled</Status><Time><Minutes>15</Minutes></Time></ReplicationTime>" +
				"<Metrics><Status>Enabled</Status><EventThreshold><Minutes>15</Minutes></EventThreshold></Metrics>")
		}
		b.WriteString("</Destination></Rule>")
	}
	b.WriteString("</ReplicationConfiguration>")
	x.w.Header().Set("Content-Type", "application/xml")
	_, err := x.w.Write([]byte(b.String()))
	return err
}

func element(name, value string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(value)) // a builder does not fail
	return "<" + name + ">" + b.String() + "</" + name + ">"
}

// Drain waits until nothing is pending.
func (r *Replication) Drain(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for r.Pending() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("replication: %d changes are pending: %v", r.Pending(), ctx.Err())
		}
	}
}
