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

// Client is a client of the Environments API. Make one per credential and keep it: it holds the connections. Any number of goroutines
// may use it at once.
type Client struct {
	// Environments are the operations on environments, and on the work queue of self-hosted ones.
	Environments *Environments

	*core
}

// core is what a client and its operations share. It holds on to none of them, so that the garbage collector can close it.
type core struct {
	handle    clientHandle
	closeOnce sync.Once
}

// NewClient makes a client. Nothing is sent yet. Without options it takes everything from the environment variables. An error is
// ErrConfig when an option is not acceptable or there is no credential.
func NewClient(options ...Option) (*Client, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	return openClient(options, newClient)
}

// With makes a client that shares this one's connections, with another credential or other defaults. Either may be closed first. A
// credential given here replaces all of this client's.
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

// clientFromHandle makes a client of a handle.
func clientFromHandle(handle clientHandle) (*Client, error) {
	if err := acquireQueue(); err != nil {
		freeClient(handle)
		return nil, err
	}
	c := &core{handle: handle}
	runtime.SetFinalizer(c, (*core).Close)
	return &Client{core: c, Environments: &Environments{client: c, Work: &WorkQueue{client: c}}}, nil
}

// Close frees the client. Calls in flight through it go on to their end; later ones return ErrClosed. Closing again does nothing; a
// client that is forgotten is closed by the garbage collector.
func (c *core) Close() {
	c.closeOnce.Do(func() {
		runtime.SetFinalizer(c, nil)
		freeClient(c.handle)
		releaseQueue()
	})
}

// Stats returns what the client, and those that share its connections, did so far in this process. After Close the error is ErrClosed.
func (c *core) Stats() (*ClientStats, error) {
	defer runtime.KeepAlive(c)
	return decoded[ClientStats](clientStats(c.handle))
}

// Call calls an operation by its name, such as "environments.create", with all its parameters, identifiers among them: anything that
// encodes to a JSON object. It returns the result's JSON. It is for operations that the library has and this package does not know.
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

// Request makes a request to any endpoint; WithQuery and WithBody say with what. It returns the answer's JSON, null if it is empty.
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

// name says what the call is.
func (s submission) name() string {
	name := strings.TrimRight(string(s.operation)+" "+string(s.path), "\x00 ")
	return strings.ReplaceAll(name, "\x00", "")
}

// contextError is the error of something that waited when its context is done.
func contextError(ctx context.Context, name string) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("antenv: %s: %w: %w", name, ctx.Err(), cause)
	}
	return fmt.Errorf("antenv: %s: %w", name, ctx.Err())
}

// unwrapResponse takes a result out of what WithResponse wraps it in.
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

// Shutdown ends the library's thread and closes all connections. Nothing has to call it; a later call starts afresh. Calls in flight
// have `timeout` to end, all the time they take if it is negative; what is left is cancelled, and false returned. It waits for little
// longer.
func Shutdown(timeout time.Duration) bool {
	ms := int64(-1)
	if timeout >= 0 {
		ms = milliseconds(timeout)
	}
	return shutdownLibrary(ms) == StatusOK
}
