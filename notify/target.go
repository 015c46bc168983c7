package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// callFor is how long one request may take, all of it.
const callFor = 10 * time.Second

// Target is where messages go. Its URL is a secret: whoever has it can write there.
type Target struct {
	// name says which it is without the secret.
	name string
	send func(ctx context.Context, client *http.Client, m Message) error
	hide *strings.Replacer
}

// Name says in a word or two where it is, without anything secret.
func (t Target) Name() string { return t.name }

// webhookPrefix marks a URL to which messages are put as JSON.
const webhookPrefix = "webhook+"

// TargetOptions are how a target is told. The zero value signs nothing.
type TargetOptions struct {
	// Secret signs what a webhook gets; "" signs nothing.
	Secret string
	// Agent is the User-Agent of requests.
	Agent string
}

// ParseTarget reads a URL: webhook+https://…, webhook+http://…, or one of a service that shoutrrr knows. Its errors hold nothing of it but the scheme.
func ParseTarget(text string, o TargetOptions) (Target, error) {
	rest, ok := strings.CutPrefix(text, webhookPrefix)
	if !ok {
		return parseChat(text)
	}
	u, err := parseHTTP(rest)
	if err != nil {
		return Target{}, err
	}
	hook := webhook{url: u, secret: o.Secret, agent: o.Agent}
	return Target{name: "webhook " + u.Host, send: hook.send, hide: hiding(u)}, nil
}

// CheckHeartbeat says whether a URL can be a heartbeat's. Its error holds nothing of it but the scheme.
func CheckHeartbeat(text string) error {
	_, err := parseHTTP(text)
	return err
}

// parseHTTP reads a URL of HTTP. Its errors hold nothing of it but the scheme.
func parseHTTP(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil: // url.Error repeats the text
		return nil, errors.New("not a URL: want https://host/path")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("unknown scheme %q: want https://host/path", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("no host: want https://host/path")
	}
	return u, nil
}

// shortest is how long a part of a URL is at least that is taken out of errors: shorter ones would black out ordinary words.
const shortest = 4

// hidden stands in the place of what was taken out.
const hidden = "***"

// hiding returns what takes the parts of a URL that may be secret out of a text.
func hiding(u *url.URL) *strings.Replacer {
	parts := []string{u.String(), u.RequestURI(), u.EscapedPath(), u.Path, u.RawQuery, u.Fragment}
	if u.User != nil {
		password, _ := u.User.Password()
		parts = append(parts, u.User.String(), u.User.Username(), password)
	}
	if u.Scheme != "http" && u.Scheme != "https" { // a chat's: the host is a token as often as not
		parts = append(parts, u.Host, u.Hostname())
	}
	for _, part := range append([]string(nil), parts[1:]...) { // tokens are taken apart and put together anew
		parts = append(parts, strings.FieldsFunc(part, func(r rune) bool { return strings.ContainsRune("/:-?&=@", r) })...)
	}
	for _, values := range u.Query() {
		parts = append(parts, values...)
	}
	var pairs []string
	for _, part := range parts {
		for _, form := range []string{part, url.QueryEscape(part), url.PathEscape(part)} {
			if len(strings.Trim(form, "/")) >= shortest {
				pairs = append(pairs, form, hidden)
			}
		}
	}
	return strings.NewReplacer(pairs...)
}

// deliveryError is why a message was not delivered, without what is secret.
type deliveryError struct {
	text string
	// final says that the same request would fail again.
	final bool
}

func (e *deliveryError) Error() string { return e.text }

// failing returns a deliveryError for an error.
func (t Target) failing(err error) *deliveryError {
	var status *statusError
	text := err.Error()
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // it begins with the URL
		text = wrapped.Err.Error()
	}
	text = strings.Join(strings.Fields(text), " ")
	return &deliveryError{text: t.name + ": " + t.hide.Replace(text), final: errors.As(err, &status) && status.final()}
}
