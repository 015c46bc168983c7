package storagetest

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Op is what a request to an S3 server does.
type Op string

// The operations that the proxy tells apart. Any in a rule stands for all of them.
const (
	Any    Op = ""
	Put    Op = "put"
	Begin  Op = "begin"
	Part   Op = "part"
	Commit Op = "commit"
	Abort  Op = "abort"
	Get    Op = "get"
	Head   Op = "head"
	List   Op = "list"
	Delete Op = "delete"
	Other  Op = "other"
)

// Call is a request that came to the proxy.
type Call struct {
	Op     Op
	Path   string // /bucket/key; for a List /bucket/prefix
	Status int    // what the client got; 0 if it got no answer
	Fault  string // name of the rule whose fault it met; "" if none, or if that changed nothing
	Began  time.Time
	Ended  time.Time // before the last of the answer went out, or the connection was cut; the client sees it later

	// Action is what IAM calls it, such as s3:GetObjectVersion; empty for what it does not know.
	Action string
	// Created says that the server has made the object, whatever the client was told.
	Created bool
	// Keys that the answer to a List named.
	Keys []string
	// Sent is how many bytes the request's body was announced with, Got how many of an answer's went out.
	Sent, Got int64
}

// Rule says which requests meet a fault.
type Rule struct {
	// Name is what Call.Fault says. Empty stands for the operation.
	Name string
	// Op of the requests.
	Op Op
	// Path is a pattern for /bucket/key, in which an asterisk stands for any bytes; empty matches all.
	Path string
	// Nth is the request that meets the fault, counted from 1 and from the rule's start; 0 means each.
	Nth int
	// Percent of the requests that meet the fault, spread evenly; 0 means each.
	Percent int
	// Fault is what happens.
	Fault Fault
}

// Proxy stands in front of a Server, speaks plain HTTP and makes faults. The requests' signatures stay
// valid because it passes their Host header on. It is safe for concurrent use.
type Proxy struct {
	server *Server
	http   *httptest.Server
	client *http.Client
	closed chan struct{}

	mu      sync.Mutex
	rules   []*active
	trusted bool // see Trust
	calls   []Call
	told    int                  // requests whose client may have all of the answer, and that are not among the calls yet
	noted   sync.Cond            // told has become less
	met     map[string]int       // requests by the name of the rule that they met
	born    map[string]time.Time // objects by path: when they were put through this proxy
}

type active struct {
	Rule
	seen    int
	removed chan struct{}
}

// StartProxy starts a proxy in front of a server without TLS, on a free port of the loopback. It is stopped at the end of the test.
func StartProxy(t testing.TB, server *Server) *Proxy {
	t.Helper()
	return StartProxyAt(t, server, "127.0.0.1")
}

// StartProxyAt is StartProxy on a free port of one of this host's addresses.
func StartProxyAt(t testing.TB, server *Server, host string) *Proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	p := &Proxy{
		server: server, closed: make(chan struct{}), met: make(map[string]int), born: make(map[string]time.Time),
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}
	p.noted.L = &p.mu
	p.http = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	_ = p.http.Listener.Close() // nobody was told of it
	p.http.Listener = l
	p.http.Start()
	t.Cleanup(func() {
		close(p.closed)
		p.http.CloseClientConnections()
		p.http.Close()
		transport.CloseIdleConnections()
	})
	return p
}

// Endpoint is the proxy's URL.
func (p *Proxy) Endpoint() string { return p.http.URL }

// URL is the repository URL of a prefix in a bucket, through the proxy.
func (p *Proxy) URL(bucket, prefix string) string { return storeURL(p.Endpoint(), bucket, prefix) }

// Add makes requests meet a fault from now on, until remove is called. The first rule that fires wins.
func (p *Proxy) Add(rule Rule) (remove func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &active{Rule: rule, removed: make(chan struct{})}
	p.rules = append(p.rules, a)
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		close(a.removed)
		for i, r := range p.rules {
			if r == a {
				p.rules = append(p.rules[:i:i], p.rules[i+1:]...)
				return
			}
		}
	})
}

// Calls returns the requests that have ended, in the order in which they ended. Those are among them whose answer a client had read to its end.
func (p *Proxy) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.told > 0 {
		p.noted.Wait()
	}
	return append([]Call(nil), p.calls...)
}

// Met returns how many requests have met rules of a name, those included that have not ended.
func (p *Proxy) Met(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.met[name]
}

// Count returns how many requests of op whose path matches have ended.
func (p *Proxy) Count(op Op, path string) int {
	n := 0
	for _, c := range p.Calls() {
		if (op == Any || op == c.Op) && matches(path, c.Path) {
			n++
		}
	}
	return n
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	op, path := operation(r)
	call := Call{Op: op, Path: path, Began: time.Now(), Action: requestOf(r).Action}
	answer := &recorder{ResponseWriter: w, keep: op == List, whole: func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told++
	}}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	x := &exchange{proxy: p, w: answer, r: r.WithContext(ctx), op: op, path: path, gone: p.closed}
	defer func() {
		call.Status, call.Fault, call.Created, call.Keys = answer.status, x.fault, x.created, answer.keys()
		call.Sent, call.Got = max(0, r.ContentLength), answer.bytes
		if call.Ended = answer.wrote; call.Ended.IsZero() {
			call.Ended = time.Now()
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls = append(p.calls, call)
		if x.created {
			p.born[path] = call.Ended
		}
		if answer.told {
			p.told--
			p.noted.Broadcast()
		}
	}()
	fault := p.guarded(p.fires(op, path, x))
	if fault == nil {
		fault = Pass()
	}
	if err := fault(x); err != nil {
		panic(http.ErrAbortHandler) // net/http's way to cut the connection
	}
}

// fires returns the fault that the request meets, nil if none.
func (p *Proxy) fires(op Op, path string, x *exchange) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	var fault Fault
	for _, a := range p.rules {
		if (a.Op != Any && a.Op != op) || !matches(a.Path, path) {
			continue
		}
		a.seen++
		if a.due() && fault == nil {
			fault, x.removed, x.fault = a.Fault, a.removed, a.name()
			p.met[x.fault]++
		}
	}
	return fault
}

func (a *active) name() string {
	if a.Name != "" {
		return a.Name
	}
	return string(a.Op) + " fault"
}

func (a *active) due() bool {
	if a.Nth > 0 && a.Nth != a.seen {
		return false
	}
	return a.Percent == 0 || a.seen*a.Percent/100 > (a.seen-1)*a.Percent/100
}

// operation tells what a request does, and its path.
func operation(r *http.Request) (Op, string) {
	query := r.URL.Query()
	key := strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 0
	switch {
	case r.Method == http.MethodGet && query.Has("list-type"):
		return List, strings.TrimSuffix(r.URL.Path, "/") + "/" + query.Get("prefix")
	case !key:
		return Other, r.URL.Path
	case r.Method == http.MethodPost && query.Has("uploads"):
		return Begin, r.URL.Path
	case r.Method == http.MethodPost && query.Has("uploadId"):
		return Commit, r.URL.Path
	case r.Method == http.MethodPut && query.Has("partNumber"):
		return Part, r.URL.Path
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		return Abort, r.URL.Path
	}
	op, ok := map[string]Op{
		http.MethodPut: Put, http.MethodGet: Get, http.MethodHead: Head, http.MethodDelete: Delete,
	}[r.Method]
	if !ok {
		op = Other
	}
	return op, r.URL.Path
}

func matches(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		if _, s, ok = strings.Cut(s, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// recorder remembers the status that went to the client, and the body if it is to be kept.
type recorder struct {
	http.ResponseWriter
	status int
	wrote  time.Time // before the last write: right behind it the client may know all
	keep   bool
	body   []byte
	bytes  int64  // written
	rest   int64  // bytes of the body that were not written yet, where its length was announced
	whole  func() // called before the last of them is written
	told   bool   // it was called
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.keep {
		r.body = append(r.body, b...)
	}
	r.bytes += int64(len(b))
	r.wrote = time.Now()
	if r.rest -= int64(len(b)); r.rest == 0 {
		r.told = true
		r.whole()
	}
	return r.ResponseWriter.Write(b)
}

// keys returns the keys in the answer to a List.
func (r *recorder) keys() []string {
	if r.status != http.StatusOK {
		return nil
	}
	var list struct {
		Contents []struct{ Key string }
	}
	if err := xml.Unmarshal(r.body, &list); err != nil {
		return nil // it is cut, or no list: the client learned nothing
	}
	keys := make([]string, 0, len(list.Contents))
	for _, c := range list.Contents {
		keys = append(keys, c.Key)
	}
	return keys
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	r.status, r.wrote = status, time.Now()
	r.rest, _ = strconv.ParseInt(r.Header().Get("Content-Length"), 10, 64)
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach what is behind.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

var errCut = errors.New("connection cut on purpose")

func (x *exchange) wait(d <-chan time.Time) error {
	select {
	case <-d:
		return nil
	case <-x.removed:
		return nil
	case <-x.gone:
		return fmt.Errorf("proxy closed: %w", errCut)
	case <-x.r.Context().Done():
		return x.r.Context().Err()
	}
}
