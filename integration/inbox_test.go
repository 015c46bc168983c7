package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/pgark/pgark/notify"
)

// inboxSecret signs what an inbox gets.
const inboxSecret = "a secret of sixteen characters or more"

// inbox is a webhook of somebody who is told by an agent. It fails the test for a message that is not signed.
type inbox struct {
	url string

	mu  sync.Mutex
	got []notify.Message
}

// newInbox listens until the test ends.
func newInbox(t testing.TB) *inbox {
	t.Helper()
	b := &inbox{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var m notify.Message
		if err == nil {
			err = json.Unmarshal(body, &m)
		}
		planted().look("a message to a webhook", body)
		switch {
		case err != nil:
			t.Errorf("a message that cannot be read: %v: %s", err, body)
		case r.Header.Get(notify.SignatureHeader) != notify.Sign(body, inboxSecret), r.Header.Get(notify.EventHeader) != string(m.Event):
			t.Errorf("a message with the headers %v: %s", r.Header, body)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.got = append(b.got, m)
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// environment has an agent tell the inbox of some events.
func (b *inbox) environment(kinds string) []string {
	return []string{"PGARK_NOTIFY_TO=webhook+" + b.url + "/pgark", "PGARK_NOTIFY_SECRET=" + inboxSecret, "PGARK_NOTIFY_ON=" + kinds}
}

// said is what came of one kind of event, in the order in which it came.
func (b *inbox) said(kind notify.Kind) []notify.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.got), func(m notify.Message) bool { return m.Event != kind })
}

// has reports whether the event was told to be in a state.
func (b *inbox) has(kind notify.Kind, state notify.State) bool {
	return slices.ContainsFunc(b.said(kind), func(m notify.Message) bool { return m.State == state })
}

// once checks that the event was told once as begun and once as ended, and nothing else of it. It returns the first message.
func (b *inbox) once(t testing.TB, kind notify.Kind) notify.Message {
	t.Helper()
	said := b.said(kind)
	if len(said) != 2 || said[0].State != notify.Begun || said[1].State != notify.Ended || said[0].ID != said[1].ID || said[1].Time.Before(said[0].Time) {
		t.Errorf("of %s it said %s; want that it began and ended, once", kind, fmt.Sprint(said))
		return notify.Message{}
	}
	return said[0]
}
