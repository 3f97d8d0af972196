package antenv

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Client is a client of the Environments API. Make one for each credential and keep it: it holds the connections. Any number of
// goroutines may use it at once.
type Client struct {
	// Environments has the operations on environments, and on the work queue of self-hosted ones.
	Environments *Environments
	// Sessions has the operations on sessions and their events.
	Sessions *Sessions
	// Skills has the operations on the versions of skills.
	Skills *Skills
	// MemoryStores has the operations on the memories of memory stores.
	MemoryStores *MemoryStores

	*core
}

// core is what a client and its operations share. It refers to none of them, so that the garbage collector can close it.
type core struct {
	handle    clientHandle
	closeOnce sync.Once
}

// NewClient makes a client. Without options it takes everything from environment variables. It sends nothing and does not block. The error
// is ErrConfig when an option is invalid or there is no credential.
func NewClient(options ...Option) (*Client, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	return openClient(options, newClient)
}

// With makes a client on this client's connections, with another credential or other defaults. A credential given here replaces all of
// this client's. Either client may be closed first. The error is ErrConfig when an option is invalid, ErrClosed after Close.
func (c *Client) With(options ...Option) (*Client, error) {
	defer runtime.KeepAlive(c.core)
	return openClient(options, func(config []byte) (clientHandle, error) { return deriveClient(c.handle, config) })
}

func openClient(options []Option, from func(config []byte) (clientHandle, error)) (*Client, error) {
	config, err := newSettings(options).nulTerminated()
	if err != nil {
		return nil, err
	}
	handle, err := from(config)
	if err != nil {
		return nil, err
	}
	return clientFromHandle(handle)
}

// clientFromHandle makes a client from a handle, which it owns.
func clientFromHandle(handle clientHandle) (*Client, error) {
	if err := acquireQueue(); err != nil {
		freeClient(handle)
		return nil, err
	}
	c := &core{handle: handle}
	runtime.SetFinalizer(c, (*core).Close)
	return &Client{
		core:         c,
		Environments: newEnvironments(c),
		Sessions:     newSessions(c),
		Skills:       newSkills(c),
		MemoryStores: newMemoryStores(c),
	}, nil
}

// Close frees the client. Calls in flight go on to their end; later ones return ErrClosed. Closing again does nothing; the garbage
// collector closes a client that is no longer referenced. It does not block.
func (c *core) Close() {
	c.closeOnce.Do(func() {
		runtime.SetFinalizer(c, nil)
		freeClient(c.handle)
		releaseQueue()
	})
}

// Stats returns what the client, and those that share its connections, have done so far in this process. After Close the error is
// ErrClosed. It does not block.
func (c *core) Stats() (*ClientStats, error) {
	defer runtime.KeepAlive(c)
	return decoded[ClientStats](clientStats(c.handle))
}

// Call calls an operation by its name, such as "environments.create". params holds all its parameters, identifiers included: anything that
// encodes to a JSON object, or nil. It returns the result's JSON. Use it for operations that the library has and this package does not.
func (c *core) Call(ctx context.Context, operation string, params any, options ...Option) (json.RawMessage, error) {
	name, err := nulTerminated("operation", operation)
	if err != nil {
		return nil, err
	}
	s := newSettings(options)
	if err := s.addMembers(params); err != nil {
		return nil, err
	}
	return c.call(ctx, submission{operation: name}, s)
}

// Request sends a request to any endpoint. WithQuery and WithBody set its query and body. It returns the response's JSON, null if that is
// empty.
func (c *core) Request(ctx context.Context, method, path string, options ...Option) (json.RawMessage, error) {
	verb, err := nulTerminated("method", method)
	if err != nil {
		return nil, err
	}
	where, err := nulTerminated("path", path)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, submission{operation: verb, path: where}, newSettings(options))
}

// addMembers adds the members of a JSON object.
func (s *settings) addMembers(params any) error {
	text, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("antenv: params: %w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return fmt.Errorf("antenv: params: %w", err)
	}
	for name, value := range members {
		s.addJSON(name, value)
	}
	return nil
}

// call makes a call and returns its result's JSON.
func (c *core) call(ctx context.Context, what submission, s *settings) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError(ctx, what.name())
	}
	var err error
	if what.params, err = s.nulTerminated(); err != nil {
		return nil, err
	}
	status, text, err := what.run(ctx, c.handle)
	runtime.KeepAlive(c)
	if err != nil {
		return nil, err
	}
	switch {
	case status == StatusOK:
		return s.unwrapResponse(text)
	case status == StatusCancelled && ctx.Err() != nil:
		return nil, contextError(ctx, what.name())
	}
	return nil, s.fail(status, text)
}

// fail returns the error of a failed call, and fills in what WithResponse asks for.
func (s *settings) fail(status Status, text []byte) error {
	err := newError(status, text)
	if s.response != nil {
		*s.response = Response{HTTPStatus: err.HTTPStatus, RequestID: err.RequestID, Header: err.Header, Attempts: err.Attempts}
	}
	return err
}

// name names the call in errors.
func (s submission) name() string {
	name := strings.TrimRight(string(s.operation)+" "+string(s.path), "\x00 ")
	return strings.ReplaceAll(name, "\x00", "")
}

// contextError returns the error of a call whose context is done.
func contextError(ctx context.Context, name string) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("antenv: %s: %w: %w", name, ctx.Err(), cause)
	}
	return fmt.Errorf("antenv: %s: %w", name, ctx.Err())
}

// unwrapResponse returns the result alone, and fills in what WithResponse asks for.
func (s *settings) unwrapResponse(text []byte) ([]byte, error) {
	if s.response == nil {
		return text, nil
	}
	var wrapped struct {
		*Response
		Headers map[string]string `json:"headers"`
		Data    json.RawMessage   `json:"data"`
	}
	wrapped.Response = s.response
	if err := json.Unmarshal(text, &wrapped); err != nil {
		return nil, fmt.Errorf("antenv: %w", err)
	}
	s.response.Header = httpHeader(wrapped.Headers)
	return wrapped.Data, nil
}

// Shutdown ends the library's thread and closes all connections. A program need not call it; a later call starts the thread again. Calls
// in flight have the timeout to end, rounded up to whole milliseconds; a negative timeout has no limit. Calls that are left are cancelled,
// and Shutdown returns false. It blocks little longer than the timeout.
func Shutdown(timeout time.Duration) bool {
	ms := int64(-1)
	if timeout >= 0 {
		ms = milliseconds(timeout)
	}
	return shutdownLibrary(ms) == StatusOK
}
