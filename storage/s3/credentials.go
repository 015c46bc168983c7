package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// credentials gives what the default chain finds, and looks again when the store refuses it: a chain
// that was loaded keeps static keys of a file for ever, although the file was replaced.
type credentials struct {
	load func(ctx context.Context) (aws.CredentialsProvider, error)

	mu    sync.Mutex
	chain aws.CredentialsProvider // nil: to be loaded
	given aws.Credentials         // the last ones
}

// Retrieve implements aws.CredentialsProvider.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	chain, err := c.current(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err: err, once: c.once()}
	}
	found, err := chain.Retrieve(ctx)
	if err != nil {
		c.invalidate()
		return aws.Credentials{}, &credentialsError{err: err, once: c.once()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given = found
	return found, nil
}

func (c *credentials) current(ctx context.Context) (aws.CredentialsProvider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chain != nil {
		return c.chain, nil
	}
	chain, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	c.chain = chain
	return chain, nil
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

// renew is called when the store refused a request. It tells whether the credentials are other ones by
// now than those that signed it, loading the chain again to find out.
func (c *credentials) renew(ctx context.Context, refused *http.Request) bool {
	if c.differ(refused) {
		return true // another request's refusal has renewed them already
	}
	c.invalidate()
	_, err := c.Retrieve(ctx)
	return err == nil && c.differ(refused)
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
