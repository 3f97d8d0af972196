package antenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// SessionEnd is why a session is over. Later versions may add values.
type SessionEnd string

// The reasons.
const (
	EndIdle          SessionEnd = "idle"           // its turn ended, and no other began within WithMaxIdle. The next message makes another item
	EndTerminated    SessionEnd = "terminated"     // the session is terminated or archived
	EndDeleted       SessionEnd = "deleted"        // the session was deleted
	EndNotFound      SessionEnd = "not_found"      // there is no such session
	EndStopRequested SessionEnd = "stop_requested" // the item is to be stopped
	EndLeaseLost     SessionEnd = "lease_lost"     // the lease is lost: another worker may have the item
	EndLeaseEnded    SessionEnd = "lease_ended"    // the lease was finished, abandoned or released meanwhile
)

// VoidReason is why a call needs no reply any more. Later versions may add values.
type VoidReason string

// The reasons.
const (
	VoidInterrupted      VoidReason = "interrupted"       // a user has interrupted the session
	VoidThreadTerminated VoidReason = "thread_terminated" // the call's thread has ended
	VoidAnswered         VoidReason = "answered"          // another client has answered it
	VoidTimedOut         VoidReason = "timed_out"         // WithToolTimeout is over; the library has answered it with an error
	VoidSessionEnded     VoidReason = "session_ended"     // the session is over
)

// VoidError is the cause of a tool's context that was cancelled because its call needs no reply any more.
type VoidError struct {
	// Reason is why.
	Reason VoidReason `json:"reason"`
}

// Error returns the reason in words.
func (e *VoidError) Error() string {
	return fmt.Sprintf("antenv: the call needs no reply any more (%s)", e.Reason)
}

// WithConcurrency sets how many calls of a session Lease.Serve runs at once: 1 to 1000. Only calls of different threads of the session do.
// Default: 1.
func WithConcurrency(calls int) Option { return setting("concurrency", calls) }

// WithMaxIdle sets how long a session that Lease.Serve serves may be idle after the end of a turn before it is over: 0 (without limit) to 24
// hours. Default: 1 minute.
func WithMaxIdle(limit time.Duration) Option { return setting("max_idle_ms", milliseconds(limit)) }

// WithToolTimeout sets how long a tool that Lease.Serve runs may take before its call is answered with an error: 0 (without limit) to 24
// hours. Default: 2 minutes.
func WithToolTimeout(limit time.Duration) Option {
	return setting("tool_timeout_ms", milliseconds(limit))
}

// WithToolset has Lease.Serve run the library's own tools, too: true, or the toolset's settings, as docs/configuration.md lists them.
func WithToolset(toolset any) Option { return setting("toolset", toolset) }

// WithWorkdir sets the folder in which the toolset of Lease.Serve works.
func WithWorkdir(path string) Option { return setting("workdir", path) }

// WithSandbox sets how the toolset of Lease.Serve is confined: "auto", "required" or "off".
func WithSandbox(mode string) Option { return setting("sandbox", mode) }

// WithSkills sets whether Lease.Serve provides the skills of the session's agent.
func WithSkills(provide bool) Option { return setting("skills", provide) }

// WithMemory sets whether Lease.Serve provides the session's memory stores: true, false or "read_only".
func WithMemory(mode any) Option { return setting("memory", mode) }

// Handler returns a handler for Worker.Run that serves the session of each item by Lease.Serve:
//
//	err := worker.Run(ctx, antenv.Tools{weather}.Handler())
func (t Tools) Handler(options ...Option) func(ctx context.Context, lease *Lease) error {
	return func(ctx context.Context, lease *Lease) error {
		_, err := lease.Serve(ctx, t, options...)
		return err
	}
}

// Serve serves the session of the item to its end, and returns why it is over: it runs the tools that the session's agent calls, each in a
// goroutine of its own, and posts their results. Calls of other tools are left to other clients. The library reconnects, asks for
// permissions, and keeps results until the session has them; docs/sessions.md describes it. It takes the options WithConcurrency,
// WithMaxIdle, WithToolTimeout, WithToolset, WithWorkdir, WithSandbox, WithSkills, WithMemory, and WithConfig with a session's keys.
//
// When ctx is done, the contexts of all tools are cancelled, nothing more is posted, and the error wraps ctx.Err(). When the lease is no
// longer held, that ends the session: EndStopRequested or EndLeaseLost, without an error, also if ctx is then done. Serve returns when all
// its tools have returned, and leaves the lease as it is: end it by Finish, as Worker.Run does.
//
// The error is ErrConfig when an option is invalid; ErrInvalidArgument when the worker only claims (WorkerConfig.Heartbeat); ErrClosed when
// the lease has ended; ErrCancelled when the library was shut down; otherwise what the server refuses permanently, such as
// ErrAuthentication.
func (l *Lease) Serve(ctx context.Context, tools Tools, options ...Option) (SessionEnd, error) {
	defer runtime.KeepAlive(l)
	if ctx.Err() != nil {
		return "", contextError(ctx, "lease.serve")
	}
	byName, err := tools.byName()
	if err != nil {
		return "", err
	}
	config, err := tools.config(options)
	if err != nil {
		return "", err
	}
	if err := acquireQueue(); err != nil {
		return "", err
	}
	defer releaseQueue()
	handle, err := newSession(l.handle, config)
	if err != nil {
		return "", replaceInvalidHandle(err, errLeaseClosed)
	}
	s := &serving{handle: handle, tools: byName, calls: newArrivals()}
	defer s.running.Wait()
	defer s.close()
	l.setSession(s)
	err = addListener(s.calls.onCompletion, func(queue queueHandle, tag uint64) error { return attachSession(handle, queue, tag) })
	if err != nil {
		return "", err
	}
	return s.serve(ctx, l.ctx)
}

// config returns a session's configuration as the library takes it.
func (t Tools) config(options []Option) ([]byte, error) {
	names := make([]string, len(t))
	for i, tool := range t {
		names[i] = tool.Name
	}
	s := newSettings(append([]Option{WithConfig("tools", names)}, options...))
	return s.nulTerminated()
}

// serving is a session that is being served.
type serving struct {
	handle  sessionHandle
	tools   map[string]ServedTool
	calls   *arrivals
	running sync.WaitGroup // the goroutines of tools

	mu      sync.Mutex
	closed  bool
	last    []byte // its statistics when it was closed
	lastErr error
}

// close ends the session, and keeps its statistics.
func (s *serving) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.lastErr = sessionStats(s.handle)
	s.closed = true
	freeSession(s.handle)
}

// stats returns the session's statistics as JSON.
func (s *serving) stats() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.last, s.lastErr
	}
	return sessionStats(s.handle)
}

// serve runs tools until the session is over or ctx is done.
func (s *serving) serve(ctx, leaseCtx context.Context) (SessionEnd, error) {
	for done := ctx.Done(); ; {
		call, status, text := nextToolCall(s.handle)
		switch status {
		case StatusOK:
			s.running.Add(1)
			go s.run(ctx, call, text)
			continue
		case StatusDone:
			var end struct{ Reason SessionEnd }
			err := json.Unmarshal(text, &end)
			return end.Reason, err
		case StatusTimeout:
		default:
			return "", newError(status, text)
		}
		select {
		case <-s.calls.wake:
		case <-s.calls.done:
		case <-done:
			if leaseCtx.Err() == nil {
				return "", contextError(ctx, "lease.serve")
			}
			done = nil // the session ends with its lease, and reports why
		}
	}
}

// run runs the tool of a call, and replies with what it returns, unless serving is to end meanwhile.
func (s *serving) run(serveCtx context.Context, call toolCallHandle, text []byte) {
	defer s.running.Done()
	event := &Event{}
	err := event.decode(text)
	tool, ok := s.tools[event.Name]
	if err != nil || !ok { // it is not for this program
		freeToolCall(call)
		return
	}
	cancellable, cancel := context.WithCancelCause(context.WithValue(serveCtx, eventKey{}, event))
	defer cancel(nil)
	ctx := &callContext{Context: cancellable, watch: sync.OnceFunc(func() {
		err := addListener(func(status Status, text []byte) bool {
			cancel(voidCause(status, text))
			return false
		}, func(queue queueHandle, tag uint64) error { return attachToolCall(call, queue, tag) })
		if err != nil { // the library is being shut down, or the tool has returned
			cancel(err)
		}
	})}
	result := encodeResult(nil, errors.New("the tool ended its goroutine"))
	defer func() { // runs after a panic and runtime.Goexit, too
		if value := recover(); value != nil {
			currentLogger().Error("a tool panicked", "tool", event.Name, "call_id", event.ID, "panic", value, "stack", string(debug.Stack()))
			result = encodeResult(nil, fmt.Errorf("the tool panicked: %v", value))
		}
		if serveCtx.Err() != nil { // the session may not be closed yet
			freeToolCall(call)
			return
		}
		if err := reply(call, result); err != nil && !errors.Is(err, ErrCancelled) {
			currentLogger().Warn("the result of a tool was not posted", "tool", event.Name, "call_id", event.ID, "error", err)
		}
	}()
	result = encodeResult(tool.run(ctx, event.Input))
}

// callContext is the context of a tool. Its call is watched from the first use on: watching takes longer than a tool that does not use it.
type callContext struct {
	context.Context
	watch func()
}

func (c *callContext) Done() <-chan struct{} {
	c.watch()
	return c.Context.Done()
}

func (c *callContext) Err() error {
	c.watch()
	return c.Context.Err()
}

// Value is what context.Cause calls, too.
func (c *callContext) Value(key any) any {
	if key != (eventKey{}) {
		c.watch()
	}
	return c.Context.Value(key)
}

// voidCause returns the cause of a tool's context that a completion reports; nil when the call has its reply.
func voidCause(status Status, text []byte) error {
	void := &VoidError{}
	if status != StatusOK || json.Unmarshal(text, void) != nil {
		return nil
	}
	return void
}

// reply replies to a call, and waits until the session has the result.
func reply(call toolCallHandle, result []byte) error {
	pending, queue, tag := registerCall()
	if err := submitReply(call, result, queue, tag); err != nil {
		unregisterCall(tag)
		freeToolCall(call)
		return err
	}
	<-pending.done
	if status, text := pending.outcome(); status != StatusOK {
		return newError(status, text)
	}
	return nil
}

type eventKey struct{}

// CallEvent returns the event of the call that a tool runs for, from the tool's context: its ID, Name, Input, SessionThreadID and more. It
// returns nil for another context.
func CallEvent(ctx context.Context) *Event {
	event, _ := ctx.Value(eventKey{}).(*Event)
	return event
}
