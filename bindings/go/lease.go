package antenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
)

// Lease is the lease on a work item: as long as it is held, no other worker gets the item. Finish, Release or Abandon ends it; the garbage collector
// abandons a lease that is no longer referenced. Any number of goroutines may use a lease at once.
type Lease struct {
	// Work is the item as the poll returned it, with its secret. Printing and logging it hide the secret.
	Work *Work

	handle leaseHandle
	worker *Worker         // lives as long as its leases; nil: the lease was adopted
	ctx    context.Context // cancelled, with the reason, when the lease is no longer held

	mu      sync.Mutex
	ended   bool
	session *serving // the session that Serve serves, or served last
}

var (
	errLeaseClosed = &Error{Status: StatusInvalidHandle, Message: "the lease has ended"}
	errLeaseEnded  = errors.New("its holder ended the lease")
)

// newLease makes a lease from a handle, which it owns, and the item's JSON. An adopted lease has no worker.
func newLease(w *Worker, handle leaseHandle, item []byte) (*Lease, error) {
	if err := acquireQueue(); err != nil {
		abandonLease(handle)
		return nil, err
	}
	ctx, end := context.WithCancelCause(context.Background())
	l := &Lease{Work: &Work{}, handle: handle, worker: w, ctx: ctx}
	_ = json.Unmarshal(item, l.Work) // an item that is not what the API describes still has a lease, and its JSON
	l.Work.raw = item
	runtime.SetFinalizer(l, (*Lease).Abandon)
	err := addListener(func(status Status, state []byte) bool {
		end(leaseCause(status, state))
		return false
	}, func(queue queueHandle, tag uint64) error { return attachLease(handle, queue, tag) })
	if err != nil {
		l.Abandon()
		return nil, err
	}
	return l, nil
}

// leaseCause returns the reason that a lease's completion reports.
func leaseCause(status Status, text []byte) error {
	switch status {
	case StatusOK:
		err := &LeaseError{}
		_ = json.Unmarshal(text, &err.State)
		return err
	case StatusDone:
		return errLeaseEnded
	}
	return newError(status, text)
}

// Done returns a channel that is closed when the lease is lost, its item is to be stopped, or the lease has ended. Keep the lease as well as
// the channel: the garbage collector abandons a lease that is no longer referenced.
func (l *Lease) Done() <-chan struct{} { return l.ctx.Done() }

// Err returns why Done is closed: a *LeaseError of the kind ErrLeaseLost or ErrStopRequested. It returns nil before that, and when Finish or
// Abandon closed it. The result does not change any more; State returns the present state.
func (l *Lease) Err() error {
	if err := context.Cause(l.ctx); err != errLeaseEnded {
		return err
	}
	return nil
}

// State returns the lease's state. After Finish and Abandon the error is ErrClosed. It does not block.
func (l *Lease) State() (LeaseState, error) {
	defer runtime.KeepAlive(l)
	var state LeaseState
	text, err := leaseStateJSON(l.handle)
	if err != nil {
		return state, replaceInvalidHandle(err, errLeaseClosed)
	}
	return state, json.Unmarshal(text, &state)
}

// SessionStats returns what happened in the session that Serve serves; after Serve, the counts at its end. It returns nil before Serve. A tool
// may call it, and so may any goroutine. It does not block.
func (l *Lease) SessionStats() (*SessionStats, error) {
	l.mu.Lock()
	session := l.session
	l.mu.Unlock()
	if session == nil {
		return nil, nil
	}
	return decoded[SessionStats](session.stats())
}

func (l *Lease) setSession(s *serving) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
}

// Client makes a client for the calls that serving the item takes: on the worker's connections, with the item's own token, or with the
// environment's key if the item's secret has none. The client may outlive the lease. After Finish and Abandon the error is ErrClosed. It
// does not block.
func (l *Lease) Client() (*Client, error) {
	defer runtime.KeepAlive(l)
	handle, err := leaseClientHandle(l.handle)
	if err != nil {
		return nil, replaceInvalidHandle(err, errLeaseClosed)
	}
	return clientFromHandle(handle)
}

// Finish stops the item (Stop Work) and ends the lease, which is kept until then. It returns the item, or nil when the server sends none or
// the item had already stopped. It takes call options: WithTimeout limits how long it tries, and WithConfig("force", false) asks the item to
// stop instead of stopping it at once.
//
// The error is ErrLeaseLost when the lease is lost, and then nothing was sent; a call's error when the item could not be stopped; ErrClosed
// when the lease had ended before. When ctx is done while Finish waits, the error wraps ctx.Err(), and the library goes on stopping the
// item. When ctx is done beforehand, nothing changes.
func (l *Lease) Finish(ctx context.Context, options ...Option) (*Work, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, "lease.finish")
	}
	s := newSettings(options)
	params, err := s.nulTerminated()
	if err != nil {
		return nil, err
	}
	pending, err := l.beginFinish(params)
	if err != nil {
		return nil, err
	}
	select {
	case <-pending.done:
	case <-ctx.Done():
		return nil, contextError(ctx, "lease.finish")
	}
	status, text := pending.outcome()
	if status != StatusOK {
		return nil, s.fail(status, text)
	}
	if string(text) == "null" {
		return nil, nil
	}
	return decoded[Work](s.unwrapResponse(text))
}

func (l *Lease) beginFinish(params []byte) (*call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil, errLeaseClosed
	}
	pending, queue, tag := registerCall()
	if err := submitFinish(l.handle, params, queue, tag); err != nil {
		unregisterCall(tag)
		return nil, replaceInvalidHandle(err, errLeaseClosed)
	}
	l.markEnded()
	return pending, nil
}

// markEnded records that the handle is gone. It is called once.
func (l *Lease) markEnded() {
	l.ended = true
	runtime.SetFinalizer(l, nil)
	releaseQueue()
}

// hasEnded reports whether Finish or Abandon has ended the lease.
func (l *Lease) hasEnded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// Abandon ends the lease without stopping the item: the heartbeats end, and when the lease has run out, the queue hands the item out again.
// It does nothing when the lease has ended. It does not block.
func (l *Lease) Abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		abandonLease(l.handle)
		l.markEnded()
	}
}

// LogValue returns the item's fields for slog. It hides the secret.
func (l *Lease) LogValue() slog.Value { return l.Work.LogValue() }

// String names the item.
func (l *Lease) String() string { return fmt.Sprint("lease on ", l.Work) }
