package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
)

var (
	errBusy = errors.New("the message before it has not been taken yet")
	errChat = errors.New("the service's library failed")
)

// chat is a service that shoutrrr knows: https://shoutrrr.nickfedor.com/latest/services/overview/ has the forms of their URLs.
type chat struct {
	url string
	// busy is full while a message is on its way.
	busy chan struct{}
}

// parseChat reads a URL of a service. Nothing is connected to, so that what is wrong behind the scheme shows with the first message: some services log in when
// their URL is read.
func parseChat(text string) (Target, error) {
	scheme, _, found := strings.Cut(text, "://")
	if !found {
		return Target{}, errors.New("no scheme: want webhook+https://host/path, or a URL of shoutrrr's like slack://…")
	}
	service, _, _ := strings.Cut(scheme, "+")
	if _, err := (&router.ServiceRouter{}).NewService(service); err != nil || service == "logger" { // which writes the message where the log is
		return Target{}, fmt.Errorf("unknown scheme %q: want webhook+https://host/path, or a URL of shoutrrr's like slack://…", scheme)
	}
	u, err := url.Parse(text)
	if err != nil { // url.Error repeats the text
		return Target{}, fmt.Errorf("not a URL of %s", service)
	}
	c := chat{url: text, busy: make(chan struct{}, 1)}
	return Target{name: service, send: c.send, hide: hiding(u)}, nil
}

// send does not wait for longer than ctx, though the library takes none: what hangs goes on by itself, and until it ends no further message is begun.
func (c chat) send(ctx context.Context, _ *http.Client, m Message) error {
	select {
	case c.busy <- struct{}{}:
	default:
		return errBusy
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-c.busy }()
		done <- c.tell(m.String())
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tell sends a text. A library of thirty services must not end the agent by a panic.
func (c chat) tell(text string) (err error) {
	defer func() {
		if recover() != nil {
			err = errChat
		}
	}()
	service, err := (&router.ServiceRouter{}).Locate(c.url)
	if err != nil {
		return err
	}
	return service.Send(text, &types.Params{})
}
