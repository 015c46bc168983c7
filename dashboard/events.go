package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// mostListeners is how many may listen at a time, and listenerQueue how many messages may wait for one: who does not take them is let go, and comes
	// back by itself.
	mostListeners = 32
	listenerQueue = 64
	// eventsKept is how many messages are kept for who comes back.
	eventsKept = 256
	// heartbeatEvery is how often something is sent when nothing happens, so that both ends see that the other is there.
	heartbeatEvery = 15 * time.Second
	// comeBack is how long a browser waits before it comes back.
	comeBack = 2 * time.Second
	// writeTimeout is how long one message may take to be taken.
	writeTimeout = 10 * time.Second
)

// message is one event as it is sent.
type message struct {
	id   uint64 // 0 for one that who comes back need not have
	name string
	data []byte
}

// hub gives events to who listens. Telling never waits for a listener. It is safe for concurrent use.
type hub struct {
	redact func(string) string

	mu        sync.Mutex
	last      uint64
	kept      []message // the newest, oldest first
	listeners map[chan message]struct{}
	ended     bool
}

// newHub returns a hub whose ids go on from those of an earlier process, as far as its clock tells: who comes back to a new one is not taken for
// somebody who has it all.
func newHub(redact func(string) string, now time.Time) *hub {
	return &hub{redact: redact, last: uint64(now.UnixMilli()), listeners: map[chan message]struct{}{}}
}

// tell sends an event to all, and keeps it for who comes back.
func (h *hub) tell(name string, document any) {
	m := h.message(name, document)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	m.id = h.last
	h.kept = append(h.kept[max(0, len(h.kept)-eventsKept+1):], m)
	h.send(m)
}

// pass sends an event to all and does not keep it: the next of its kind says all that it says.
func (h *hub) pass(name string, document any) {
	m := h.message(name, document)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.send(m)
}

func (h *hub) message(name string, document any) message {
	var line bytes.Buffer
	if json.Compact(&line, []byte(written(document, h.redact))) != nil {
		line.Reset()
		line.WriteString("{}") // better nothing than half of it
	}
	return message{name: name, data: line.Bytes()}
}

// written is a document in JSON without secrets, a line for each field: what takes secrets out goes by lines.
func written(document any, redact func(string) string) string {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if e.Encode(document) != nil {
		return "{}\n" // nothing that is told can fail to be written
	}
	return redact(text.String())
}

// send gives a message to all who listen. Called with mu held.
func (h *hub) send(m message) {
	for l := range h.listeners {
		select {
		case l <- m:
		default:
			h.leave(l)
		}
	}
}

// listen returns what comes from now on, and before it what was kept since an id; nil if there are too many listeners. The channel is closed when
// the listener is too slow, or the hub ends.
func (h *hub) listen(since uint64) (<-chan message, func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended || len(h.listeners) >= mostListeners {
		return nil, nil
	}
	var missed []message
	for _, m := range h.kept {
		if since != 0 && m.id > since {
			missed = append(missed, m)
		}
	}
	l := make(chan message, listenerQueue+len(missed))
	for _, m := range missed {
		l <- m
	}
	h.listeners[l] = struct{}{}
	return l, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.leave(l)
	}
}

// leave lets a listener go. Called with mu held.
func (h *hub) leave(l chan message) {
	if _, ok := h.listeners[l]; ok {
		delete(h.listeners, l)
		close(l)
	}
}

// busy reports whether somebody listens.
func (h *hub) busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.listeners) > 0
}

// end lets all listeners go, and takes no more.
func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for l := range h.listeners {
		h.leave(l)
	}
}

// serve answers with server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) until the listener goes.
func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	since, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64) // what is none is 0: all from now on
	messages, leave := h.listen(since)
	if messages == nil {
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, "too many listen already, or the agent stops")
		return
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	control := http.NewResponseController(w)
	send := func(text string) bool {
		if control.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
			return false
		}
		if _, err := fmt.Fprint(w, text); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if r.Method == http.MethodHead || !send(fmt.Sprintf("retry: %d\n\n", comeBack.Milliseconds())) {
		return
	}
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		text := ": still here\n\n"
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
		case m, ok := <-messages:
			if !ok {
				return
			}
			text = m.text()
		}
		if !send(text) {
			return
		}
	}
}

// text is a message as it is sent. JSON holds no line breaks.
func (m message) text() string {
	text := "event: " + m.name + "\ndata: " + string(m.data) + "\n\n"
	if m.id != 0 {
		text = fmt.Sprintf("id: %d\n%s", m.id, text)
	}
	return text
}
