package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
)

// Headers of a webhook's request.
const (
	// EventHeader holds the kind, for who sorts by it.
	EventHeader = "X-Pgark-Event"
	// SignatureHeader holds sha256= and the HMAC-SHA-256 of the body under the secret, in hexadecimal.
	SignatureHeader = "X-Pgark-Signature-256"
)

// mostAnswer is how much of an answer is read, so that the connection can be left in order.
const mostAnswer = 4 << 10

// webhook is a URL to which messages are posted as JSON.
type webhook struct {
	url           *url.URL
	secret, agent string
}

func (w webhook) send(ctx context.Context, client *http.Client, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", w.agent)
	r.Header.Set(EventHeader, string(m.Event))
	if w.secret != "" {
		r.Header.Set(SignatureHeader, Sign(body, w.secret))
	}
	return call(client, r)
}

// Sign returns what SignatureHeader holds for a body under a secret.
func Sign(body []byte, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// statusError is an answer that is no success.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("it answered %d %s", e.code, http.StatusText(e.code))
}

// final reports whether the same request would be answered alike: it is wrong, or meant for another place. 408, 425 and 429 ask to come again.
func (e *statusError) final() bool {
	again := []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}
	return e.code < 500 && !slices.Contains(again, e.code)
}

// call makes a request and wants an answer of 2xx.
func call(client *http.Client, r *http.Request) error {
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // all that matters was read
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, mostAnswer))
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return &statusError{answer.StatusCode}
	}
	return nil
}

// newClient returns a client that follows no redirect: a message, and its signature, go where they were meant to go or nowhere.
func newClient() *http.Client {
	return &http.Client{
		Timeout:       callFor,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
