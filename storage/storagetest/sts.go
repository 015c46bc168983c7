package storagetest

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"
)

// STS answers AssumeRole as the Security Token Service does, and knows the sessions that it gave, so that a Proxy can admit them and
// nobody else. Each request must be signed by the source identity. It is safe for concurrent use.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
type STS struct {
	http   *httptest.Server
	source identity

	mu       sync.Mutex
	roles    map[string]string // external id by ARN
	lifetime time.Duration     // 0: as asked for
	sessions map[string]*session
	calls    []url.Values
}

// session is what one AssumeRole gave.
type session struct {
	identity

	role    string
	expires time.Time
}

// StartSTS starts an STS that who has these keys may call. It is stopped at the end of the test.
func StartSTS(t testing.TB, access, secret string) *STS {
	t.Helper()
	s := &STS{source: identity{access: access, secret: secret}, roles: map[string]string{}, sessions: map[string]*session{}}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.http.Close)
	return s
}

// Endpoint is what AWS_ENDPOINT_URL_STS names.
func (s *STS) Endpoint() string { return s.http.URL }

// Allow lets a role be assumed by who gives the external id; empty means none.
func (s *STS) Allow(role, externalID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[role] = externalID
}

// Refuse lets a role be assumed no more. Its sessions last.
func (s *STS) Refuse(role string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.roles, role)
}

// Live makes new sessions last so long, whatever is asked for.
func (s *STS) Live(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lifetime = d
}

// Expire ends all sessions.
func (s *STS) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.sessions {
		one.expires = time.Time{}
	}
}

// Calls returns the parameters of the AssumeRole calls that were properly signed.
func (s *STS) Calls() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]url.Values(nil), s.calls...)
}

func (s *STS) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	if c, err := claimOf(r, body); err != nil || !c.signedBy(r, s.source) {
		refuse(w, http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("Action") != "AssumeRole" {
		refuse(w, http.StatusBadRequest, "InvalidAction", "Could not find the operation.")
		return
	}
	given, ok := s.assume(form)
	if !ok {
		refuse(w, http.StatusForbidden, "AccessDenied", "User: arn:aws:iam::111111111111:user/source is not authorized to perform: "+
			"sts:AssumeRole on resource: "+form.Get("RoleArn"))
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>`+
		`<AssumedRoleUser><Arn>arn:aws:sts::222222222222:assumed-role/r/%s</Arn><AssumedRoleId>ID:%s</AssumedRoleId></AssumedRoleUser>`+
		`<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken>`+
		`<Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
		form.Get("RoleSessionName"), form.Get("RoleSessionName"), given.access, given.secret, given.token, given.expires.Format(time.RFC3339))
}

// assume gives a new session, or false.
func (s *STS) assume(form url.Values) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, form)
	role := form.Get("RoleArn")
	externalID, ok := s.roles[role]
	if !ok || externalID != form.Get("ExternalId") {
		return session{}, false
	}
	lifetime := s.lifetime
	if seconds, err := strconv.Atoi(form.Get("DurationSeconds")); lifetime == 0 && err == nil {
		lifetime = time.Duration(seconds) * time.Second
	}
	n := s.source.access + strconv.Itoa(len(s.calls))
	given := &session{identity{"ASIA" + n, "session-secret-" + n, "session-token-" + n}, role, time.Now().Add(lifetime).UTC()}
	s.sessions[given.access] = given
	return *given, true
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>`+code+`</Code><Message>`)
	_ = xml.EscapeText(w, []byte(message)) // the client may be gone
	_, _ = io.WriteString(w, `</Message></Error></ErrorResponse>`)
}

// Sessions is a Fault that lets a request through only if a session of the role signed it, as a bucket does whose policy names no one
// else. The proxy signs it again with the server's keys.
func (s *STS) Sessions(role string) Fault {
	return func(x *exchange) error {
		if status, code := s.admit(x.r, role); code != "" {
			return Answer(status, code)(x)
		}
		sign(x.r, x.proxy.server.access, x.proxy.server.secret)
		return Pass()(x)
	}
}

// admit returns how S3 refuses a request, or no code.
func (s *STS) admit(r *http.Request, role string) (status int, code string) {
	c, err := claimOf(r, nil)
	if err != nil {
		return http.StatusForbidden, "AccessDenied"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	given, ok := s.sessions[c.access]
	switch {
	case !ok:
		return http.StatusForbidden, "InvalidAccessKeyId"
	case !c.signedBy(r, given.identity):
		return http.StatusForbidden, "SignatureDoesNotMatch"
	case time.Now().After(given.expires):
		return http.StatusBadRequest, "ExpiredToken"
	case given.role != role:
		return http.StatusForbidden, "AccessDenied"
	}
	return 0, ""
}
