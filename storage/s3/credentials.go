package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/pgark/pgark/storage"
)

// credentials gives what the default chain finds, and looks again when the store refuses it: a chain
// that was loaded keeps static keys of a file for ever, although the file was replaced.
type credentials struct {
	load func(ctx context.Context) (aws.CredentialsProvider, error)

	mu    sync.Mutex
	chain aws.CredentialsProvider // nil: to be loaded
	given aws.Credentials         // the last ones
	// renewed is the access key of the last ones that were got because a store had refused those before.
	renewed string
}

// Retrieve implements aws.CredentialsProvider. A chain that fails is loaded again at once: the keys with which it assumes a role may
// have been replaced meanwhile.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	chain, fresh, err := c.current(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err: err, once: c.once()}
	}
	found, err := chain.Retrieve(ctx)
	if err != nil {
		c.invalidate()
		if !fresh && ctx.Err() == nil {
			return c.Retrieve(ctx)
		}
		return aws.Credentials{}, &credentialsError{err: err, once: c.once()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given = found
	return found, nil
}

// current returns the chain; fresh says that it was loaded just now.
func (c *credentials) current(ctx context.Context) (chain aws.CredentialsProvider, fresh bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chain != nil {
		return c.chain, false, nil
	}
	if c.chain, err = c.load(ctx); err != nil {
		return nil, false, err
	}
	return c.chain, true, nil
}

// once tells whether credentials were found before: then their absence may pass.
func (c *credentials) once() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.given.HasKeys()
}

// invalidate makes the next Retrieve load the chain again.
func (c *credentials) invalidate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chain = nil
}

// renew is called when the store refused a request, with storage.ErrExpired or storage.ErrDenied as it said. It tells whether the
// credentials are other ones by now than those that signed it, loading the chain again to find out. A session of a role is another
// with each look, which says nothing of what it may do: one that was got by such a look and is refused is not looked behind again.
func (c *credentials) renew(ctx context.Context, refused *http.Request, said error) bool {
	if c.differ(refused) {
		return true // another request's refusal has renewed them already
	}
	if !errors.Is(said, storage.ErrExpired) && c.isSecondSession() {
		return false
	}
	c.invalidate()
	if _, err := c.Retrieve(ctx); err != nil || !c.differ(refused) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.renewed = c.given.AccessKeyID
	return true
}

// isSecondSession tells whether the last credentials are of a session that was got because the one before was refused.
func (c *credentials) isSecondSession() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.given.CanExpire && c.given.AccessKeyID == c.renewed
}

func (c *credentials) differ(signed *http.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if signed == nil || !c.given.HasKeys() {
		return false
	}
	return !strings.Contains(signed.Header.Get("Authorization"), "Credential="+c.given.AccessKeyID+"/") ||
		signed.Header.Get("X-Amz-Security-Token") != c.given.SessionToken
}

// credentialsError says that no credentials were to be had. Its text is short: the chain's own lists
// every source it tried.
type credentialsError struct {
	err  error
	once bool
}

// Error implements error.
func (e *credentialsError) Error() string { return fmt.Sprintf("get credentials: %v", e.err) }

// Unwrap returns the cause.
func (e *credentialsError) Unwrap() error { return e.err }

var errNoCredentials = errors.New("no credentials found")
