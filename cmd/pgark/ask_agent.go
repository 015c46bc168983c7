package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
)

// askAgent asks the agent on this host over HTTP, and returns the first bytes of what it answers. No password is told it.
func askAgent(ctx context.Context, c config.HTTP, path string, most int64) (code int, body []byte, err error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return 0, nil, err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	address := "://" + net.JoinHostPort(host, port) + path
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	if c.WebConfigFile != "" {
		code, body, err = getBody(ctx, "https"+address, most)
		if err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
			return code, body, err
		} // the file has passwords alone
	}
	return getBody(ctx, "http"+address, most)
}

func getBody(ctx context.Context, address string, most int64) (code int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, err
	}
	// The certificate is for the name that others call this host by. Nothing is sent, and what comes is shown and not acted on.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec // see above
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(response.Body, most))
	return response.StatusCode, body, err
}

// liveBytes is how long a Live may be: some jobs and repositories.
const liveBytes = 1 << 20

// troubles are what the agent of a cluster says keeps it from its work; nil where none can be asked.
func (s *session) troubles(c config.Config, cluster config.Cluster) *status.Troubles {
	live := s.live(c, cluster)
	if live == nil {
		return nil
	}
	return live.Troubles()
}

// live is what the agent of a cluster knows by itself; nil where none can be asked. One that archives into another repository than the command line names has
// nothing to say of that one.
func (s *session) live(c config.Config, cluster config.Cluster) *status.Live {
	if c.HTTP.Listen == "" || s.argument() != "" || text(s.cli, "repo") != "" {
		return nil
	}
	if known, ok := s.asked[cluster.Name]; ok && !s.watching() {
		return known
	}
	// What ended the command, --timeout perhaps, must not keep it from saying why.
	code, body, err := askAgent(context.WithoutCancel(s.ctx), c.HTTP, "/api/v1/live?cluster="+url.QueryEscape(cluster.Name), liveBytes)
	live := &status.Live{}
	if err != nil || code != http.StatusOK || json.Unmarshal(body, live) != nil {
		live = nil
	}
	if s.asked == nil {
		s.asked = map[string]*status.Live{}
	}
	s.asked[cluster.Name] = live
	return live
}

// rpoBytes is how long an answer of /rpo may be: a line.
const rpoBytes = 300

// agentVerdict is how safe a cluster is as its agent on this host knows by itself, in its own line; "" where none can be asked, and of one that only follows the archive.
func (s *session) agentVerdict(c config.Config, cluster config.Cluster) string {
	if live := s.live(c, cluster); live == nil || live.Follows {
		return ""
	}
	code, body, err := askAgent(context.WithoutCancel(s.ctx), c.HTTP, "/rpo?cluster="+url.QueryEscape(cluster.Name), rpoBytes)
	line, _, _ := strings.Cut(string(body), "\n")
	// Whoever else listens there answers something else.
	if err != nil || code != http.StatusOK && code != http.StatusServiceUnavailable || !strings.Contains(line, " rpo=") {
		return ""
	}
	return line
}

// watching tells whether the command looks again and again.
func (s *session) watching() bool {
	every, ok := s.cli.Generic("watch").(*interval)
	return ok && every.Duration > 0
}

// sinceError is an error of a store or a server of which the agent on this host knows more.
type sinceError struct {
	error

	text    string // since when; "" where the agent does not meet it
	verdict string // how safe the cluster is, as agentVerdict; "" where that was not asked for
}

func (e *sinceError) Unwrap() error { return e.error }

// sinceWhen is withSince for the error with which a command ends. An agent does not ask itself.
func (s *session) sinceWhen(err error) error {
	var known *sinceError
	if err == nil || s.loaded == nil || s.program.ran == "pgark run" || errors.As(err, &known) {
		return err
	}
	cluster, none := s.loaded.Select(text(s.cli, "cluster"))
	if none != nil {
		return err
	}
	return s.withSince(*s.loaded, cluster, err)
}

// withSince adds to an error of a store or a server since when the agent on this host meets it too; and where somebody wanted to know how safe a cluster is and the store does
// not tell, what the agent knows of that.
func (s *session) withSince(c config.Config, cluster config.Cluster, err error) error {
	ofStore, ofServer := isAny(err, storage.ErrDenied, storage.ErrExpired, storage.ErrSkewed, storage.ErrUnavailable, storage.ErrNoStore),
		isAny(err, postgres.ErrUnreachable, postgres.ErrAuth, postgres.ErrShuttingDown, postgres.ErrTooManyConnections, postgres.ErrNotReplication)
	if !ofStore && !ofServer {
		return err
	}
	e := &sinceError{error: err}
	if ofStore && s.program.ran == "pgark status" {
		e.verdict = s.agentVerdict(c, cluster)
	}
	if t := s.troubles(c, cluster); t != nil {
		var words []string
		if ofServer && t.Server != nil {
			words = append(words, s.outageText(*t.Server))
		}
		if ofStore {
			words = append(words, s.refusals(*t, cluster)...)
		}
		if e.text = strings.Join(words, ", "); e.text != "" && t.LastCommit != nil {
			e.text += "; last durable commit " + instant(*t.LastCommit)
		}
	}
	if e.text == "" && e.verdict == "" {
		return err
	}
	return e
}

// refusals say since when repositories take nothing, with their names where there are several.
func (s *session) refusals(t status.Troubles, cluster config.Cluster) []string {
	var words []string
	for _, r := range t.Refusing {
		name := ""
		if len(cluster.Copies) > 0 {
			name = r.Name + " "
		}
		words = append(words, name+s.outageText(r.Outage))
	}
	return words
}

// outageText says since when, and how often was tried.
func (s *session) outageText(o status.Outage) string {
	tries := fmt.Sprintf("%d tries", o.Tries)
	if o.Tries == 1 {
		tries = "1 try"
	}
	return fmt.Sprintf("%s (%s ago, %s)", instant(o.Since), elapsed(s.program.now().Sub(o.Since)), tries)
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
