package storagetest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Request is what IAM knows of a request: the action, the resource's ARN, and the condition keys that the request has.
type Request struct {
	Action, Resource string
	Keys             map[string]string
}

// Policies are policy documents that hold together for one credential: what one of them allows and none denies is allowed. They know of
// conditions what pgark's own policies use; Parse refuses any other.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
type Policies struct{ statements []statement }

type statement struct {
	Effect    string
	Principal string
	Action    []string
	Resource  []string
	Condition map[string]map[string]string
}

// ParsePolicies reads documents as IAM would: an unknown element or operator is an error.
func ParsePolicies(documents ...[]byte) (Policies, error) {
	var p Policies
	for _, raw := range documents {
		var d struct {
			Version   string
			Statement []struct {
				Sid string
				statement
			}
		}
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&d); err != nil {
			return p, fmt.Errorf("parse policy: %w", err)
		}
		if d.Version != "2012-10-17" || len(d.Statement) == 0 {
			return p, fmt.Errorf("parse policy: version %q with %d statements", d.Version, len(d.Statement))
		}
		sids := map[string]bool{}
		for _, s := range d.Statement {
			switch {
			case sids[s.Sid] || !regexp.MustCompile(`^[A-Za-z0-9]+$`).MatchString(s.Sid):
				return p, fmt.Errorf("parse policy: Sid %q is not valid, or there twice", s.Sid)
			case s.Effect != "Allow" && s.Effect != "Deny", len(s.Action) == 0, len(s.Resource) == 0:
				return p, fmt.Errorf("parse policy: statement %s is not whole", s.Sid)
			}
			for operator := range s.Condition {
				if _, known := holds(operator, "", "", false); !known {
					return p, fmt.Errorf("parse policy: statement %s: operator %q is not known", s.Sid, operator)
				}
			}
			sids[s.Sid] = true
			p.statements = append(p.statements, s.statement)
		}
	}
	return p, nil
}

// Allow tells whether the request is allowed.
func (p Policies) Allow(r Request) bool {
	allowed := false
	for _, s := range p.statements {
		if !s.concerns(r) {
			continue
		}
		if s.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

func (s statement) concerns(r Request) bool {
	if !anyLike(s.Action, r.Action) || !anyLike(s.Resource, r.Resource) {
		return false
	}
	for operator, conditions := range s.Condition {
		for key, want := range conditions {
			got, has := r.Keys[key]
			if ok, _ := holds(operator, want, got, has); !ok {
				return false
			}
		}
	}
	return true
}

// holds tells whether a condition holds for a key's value, if the request has the key; known is false if the operator is none of ours.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
func holds(operator, want, got string, has bool) (ok, known bool) {
	switch operator {
	case "StringLike":
		return has && like(want, got), true
	case "Bool", "StringEquals", "ForAnyValue:StringEquals":
		return has && got == want, true
	case "NumericLessThanEquals", "NumericGreaterThan":
		limit, limitErr := strconv.ParseFloat(want, 64)
		value, valueErr := strconv.ParseFloat(got, 64)
		return has && limitErr == nil && valueErr == nil && (value <= limit) == (operator == "NumericLessThanEquals"), true
	case "Null":
		return has == (want == "false"), true
	default:
		return false, false
	}
}

func anyLike(patterns []string, s string) bool {
	for _, p := range patterns {
		if like(p, s) {
			return true
		}
	}
	return false
}

// like matches a pattern of IAM, in which ${*}, ${?} and ${$} stand for themselves.
func like(pattern, s string) bool {
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for pattern != "" {
		switch {
		case len(pattern) >= 4 && pattern[:2] == "${" && pattern[3] == '}':
			b.WriteString(regexp.QuoteMeta(pattern[2:3]))
			pattern = pattern[4:]
			continue
		case pattern[0] == '*':
			b.WriteString(`.*`)
		case pattern[0] == '?':
			b.WriteString(`.`)
		default:
			b.WriteString(regexp.QuoteMeta(pattern[:1]))
		}
		pattern = pattern[1:]
	}
	return regexp.MustCompile(b.String() + `$`).MatchString(s)
}

// Enforce makes the store one that knows the caller by these policies alone: what they do not allow is answered 403 AccessDenied and the
// server never sees it. As with S3, an object that is not there is 403 too for whoever may not list the bucket without naming a prefix.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func Enforce(t testing.TB, documents ...[]byte) Fault {
	t.Helper()
	p, err := ParsePolicies(documents...)
	if err != nil {
		t.Fatal(err)
	}
	return p.enforce
}

// Guard has all proxies of the server enforce the policies, those that it has and these together, beside the faults of their own rules. A proxy that is Trusted does not.
func (s *Server) Guard(t testing.TB, documents ...[]byte) {
	t.Helper()
	p, err := ParsePolicies(documents...)
	if err != nil {
		t.Fatal(err)
	}
	s.guard.statements = append(s.guard.statements, p.statements...)
}

// Trust takes a proxy out of what Guard does.
func (p *Proxy) Trust() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trusted = true
}

// guarded returns what the server's guard makes of a fault, which may be nil. A request that is refused does not meet the fault.
func (p *Proxy) guarded(fault Fault) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	guard := p.server.guard
	switch {
	case p.trusted || len(guard.statements) == 0:
		return fault
	case fault == nil:
		return guard.enforce
	}
	return func(x *exchange) error {
		if guard.refuses(x.r) {
			return guard.enforce(x)
		}
		return fault(x)
	}
}

// refuses tells whether a request is not allowed.
func (p Policies) refuses(r *http.Request) bool {
	all := append(lockRequests(r), requestOf(r))
	if source, isCopy := sourceOf(r); isCopy {
		all = append(all, source)
	}
	return slices.ContainsFunc(all, func(one Request) bool { return !p.Allow(one) })
}

// enforce is the Fault of Enforce.
func (p Policies) enforce(x *exchange) error {
	if p.refuses(x.r) {
		x.fault = cmp.Or(x.fault, "guard")
		return Answer(http.StatusForbidden, "AccessDenied")(x)
	}
	x.fault = ""
	bucket, _, _ := strings.Cut(requestOf(x.r).Resource, "/")
	seesAll := p.Allow(Request{Action: "s3:ListBucket", Resource: bucket, Keys: secure(x.r)})
	return x.pass(func(resp *http.Response) {
		if (x.op == Get || x.op == Head) && resp.StatusCode == http.StatusNotFound && !seesAll {
			hide(resp)
			x.fault = "absence"
		}
	})
}

// sourceOf says of a copy within the store that its source is read too.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
func sourceOf(r *http.Request) (Request, bool) {
	name, version, versioned := strings.Cut(r.Header.Get("X-Amz-Copy-Source"), "?versionId=")
	name, err := url.PathUnescape(strings.TrimPrefix(name, "/"))
	if name == "" || err != nil {
		return Request{}, false
	}
	q := Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::" + name, Keys: secure(r)}
	if versioned && version != "" {
		q.Action += "Version"
	}
	return q, true
}

// hide makes an answer one of 403.
func hide(resp *http.Response) {
	const body = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
	_ = resp.Body.Close() // nobody reads the server's answer
	resp.StatusCode, resp.Body = http.StatusForbidden, io.NopCloser(strings.NewReader(body))
	if resp.Request.Method == http.MethodHead {
		resp.Body = http.NoBody
	}
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	resp.Header.Set("Content-Type", "application/xml")
}

// requestOf says a path-style request in IAM's words. What it does not know has no action, so that no policy allows it.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
func requestOf(r *http.Request) Request {
	op, _ := operation(r)
	query := r.URL.Query()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := Request{Resource: "arn:aws:s3:::" + bucket, Keys: secure(r)}
	if key != "" {
		q.Resource += "/" + key
	}
	switch op {
	case List:
		q.Action = "s3:ListBucket"
		if query.Has("prefix") {
			q.Keys["s3:prefix"] = query.Get("prefix")
		}
	case Other:
		if q.Action = bucketAction(r.Method, query); q.Action == "s3:ListBucketVersions" && query.Has("prefix") {
			q.Keys["s3:prefix"] = query.Get("prefix")
		}
	case Any, Put, Begin, Part, Commit, Abort, Get, Head, Delete:
		q.Action = objectAction(op, query)
	}
	if q.Action == putRetention {
		q.Keys = retentionKeys(r)
	}
	if q.Action == "s3:PutObject" {
		q.Keys["s3:ObjectCreationOperation"] = strconv.FormatBool(op == Put || op == Commit)
		for key, header := range map[string]string{
			"s3:if-none-match": "If-None-Match",
			"s3:x-amz-server-side-encryption-customer-algorithm": "X-Amz-Server-Side-Encryption-Customer-Algorithm",
		} {
			if v := r.Header.Get(header); v != "" {
				q.Keys[key] = v
			}
		}
	}
	return q
}

// lockRequests are what a request asks for besides, as far as locks go: an object that is created with a lock needs s3:PutObjectRetention, and
// passing a lock a permission of its own.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-managing.html
func lockRequests(r *http.Request) []Request {
	resource := "arn:aws:s3:::" + strings.TrimPrefix(r.URL.Path, "/")
	var asked []Request
	if r.Header.Get("X-Amz-Bypass-Governance-Retention") == "true" {
		asked = append(asked, Request{Action: "s3:BypassGovernanceRetention", Resource: resource, Keys: secure(r)})
	}
	mode, until := r.Header.Get("X-Amz-Object-Lock-Mode"), r.Header.Get("X-Amz-Object-Lock-Retain-Until-Date")
	if mode != "" || until != "" {
		asked = append(asked, Request{Action: putRetention, Resource: resource, Keys: lockKeys(r, mode, until)})
	}
	return asked
}

const putRetention = "s3:PutObjectRetention"

// lockKeys are the condition keys of a request that sets a lock. Days that have begun count.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html#amazons3-policy-keys
func lockKeys(r *http.Request, mode, until string) map[string]string {
	keys := secure(r)
	keys["s3:object-lock-mode"] = mode
	if at, err := time.Parse(time.RFC3339, until); err == nil {
		keys["s3:object-lock-retain-until-date"] = until
		keys["s3:object-lock-remaining-retention-days"] = strconv.FormatFloat(math.Ceil(time.Until(at).Hours()/24), 'f', 0, 64)
	}
	return keys
}

// retentionKeys are those of a PutObjectRetention, whose body says it; the body can be read again.
func retentionKeys(r *http.Request) map[string]string {
	body, err := io.ReadAll(r.Body)
	var asked struct{ Mode, RetainUntilDate string }
	if err == nil {
		err = xml.Unmarshal(body, &asked)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return secure(r)
	}
	return lockKeys(r, asked.Mode, asked.RetainUntilDate)
}

func secure(r *http.Request) map[string]string {
	return map[string]string{"aws:SecureTransport": strconv.FormatBool(r.TLS != nil)}
}

func bucketAction(method string, query url.Values) string {
	for _, a := range []struct{ method, query, action string }{
		{http.MethodGet, "versioning", "s3:GetBucketVersioning"},
		{http.MethodGet, "replication", "s3:GetReplicationConfiguration"},
		{http.MethodGet, "lifecycle", "s3:GetLifecycleConfiguration"},
		{http.MethodGet, "object-lock", "s3:GetBucketObjectLockConfiguration"},
		{http.MethodPut, "object-lock", "s3:PutBucketObjectLockConfiguration"},
		{http.MethodGet, "versions", "s3:ListBucketVersions"},
		{http.MethodGet, "uploads", "s3:ListBucketMultipartUploads"},
		{http.MethodPut, "versioning", "s3:PutBucketVersioning"},
		{http.MethodPut, "lifecycle", "s3:PutLifecycleConfiguration"},
		{http.MethodPut, "policy", "s3:PutBucketPolicy"},
		{http.MethodDelete, "policy", "s3:DeleteBucketPolicy"},
	} {
		if a.method == method && query.Has(a.query) {
			return a.action
		}
	}
	return ""
}

func objectAction(op Op, query url.Values) string {
	if query.Has("retention") {
		return map[Op]string{Get: "s3:GetObjectRetention", Put: putRetention}[op]
	}
	for _, of := range []string{"acl", "tagging", "legal-hold", "attributes", "torrent", "restore"} {
		if query.Has(of) {
			return ""
		}
	}
	action := map[Op]string{
		Put: "s3:PutObject", Begin: "s3:PutObject", Part: "s3:PutObject", Commit: "s3:PutObject", Abort: "s3:AbortMultipartUpload",
		Get: "s3:GetObject", Head: "s3:GetObject", Delete: "s3:DeleteObject",
	}[op]
	if query.Has("versionId") {
		action += "Version"
	}
	if op == Get && query.Has("uploadId") {
		action = "s3:ListMultipartUploadParts"
	}
	return action
}
