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

// Lease is the lease on a work item: as long as it is held, nobody else gets the item. It ends with Finish or Abandon; one that is
// forgotten is abandoned by the garbage collector. Any number of goroutines may use it at once.
type Lease struct {
	// Work is the item as the poll brought it, its secret with it. Printing it does not show the secret.
	Work *Work

	handle leaseHandle
	worker *Worker         // lives as long as its leases
	ctx    context.Context // cancelled, with the reason, when the lease is no longer simply held

	mu    sync.Mutex
	ended bool
}

var (
	errLeaseClosed = &Error{Status: StatusInvalidHandle, Message: "the lease has ended"}
	errLeaseEnded  = errors.New("the holder ended it")
)

// newLease makes a lease of a handle and the item's JSON.
func (w *Worker) newLease(handle leaseHandle, item []byte) (*Lease, error) {
	if err := acquireQueue(); err != nil {
		abandonLease(handle)
		return nil, err
	}
	ctx, end := context.WithCancelCause(context.Background())
	l := &Lease{Work: &Work{}, handle: handle, worker: w, ctx: ctx}
	_ = json.Unmarshal(item, l.Work) // an item that is not as the API describes has a lease all the same, and its JSON
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

// leaseCause reads a completion that tells that a lease is no longer simply held.
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

// Done returns a channel that is closed when the lease is no longer simply held: it is lost, its item is to be stopped, or it has ended.
// Keep the lease, too: one that is forgotten is abandoned.
func (l *Lease) Done() <-chan struct{} { return l.ctx.Done() }

// Err returns why the lease is no longer simply held: a *LeaseError of the kind ErrLeaseLost or ErrStopRequested. It is nil before Done is
// closed, and when that is because of Finish or Abandon. After that it stays as it is; State tells what came of it.
func (l *Lease) Err() error {
	if err := context.Cause(l.ctx); err != errLeaseEnded {
		return err
	}
	return nil
}

// State returns how it stands with the lease. After Finish and Abandon the error is ErrClosed.
func (l *Lease) State() (LeaseState, error) {
	defer runtime.KeepAlive(l)
	var state LeaseState
	text, err := leaseStateJSON(l.handle)
	if err != nil {
		return state, replaceInvalidHandle(err, errLeaseClosed)
	}
	return state, json.Unmarshal(text, &state)
}

// Client makes a client with the item's own token (or, if its secret holds none, with the environment's key), on the worker's connections:
// for the calls that serving the item takes. It may outlive the lease. After Finish and Abandon the error is ErrClosed.
func (l *Lease) Client() (*Client, error) {
	defer runtime.KeepAlive(l)
	handle, err := leaseClientHandle(l.handle)
	if err != nil {
		return nil, replaceInvalidHandle(err, errLeaseClosed)
	}
	return clientFromHandle(handle)
}

// Finish ends the lease: it stops the item (Stop Work), keeping the lease until that is done, and returns the item; nil when the server
// sends none or it had stopped already. It takes call options: WithTimeout for how long it is tried, WithConfig("force", false) to ask the
// item to stop instead of stopping it at once. The error is ErrLeaseLost when the lease is lost, and nothing was sent then; that of a call
// when the item could not be stopped; ErrClosed when the lease had ended. When ctx is done first, the error is ctx.Err(), and the library
// goes on without the caller; when ctx is done already, nothing changes.
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

// markEnded is called once, when the handle is gone.
func (l *Lease) markEnded() {
	l.ended = true
	runtime.SetFinalizer(l, nil)
	releaseQueue()
}

// hasEnded tells whether the holder has ended the lease.
func (l *Lease) hasEnded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// Abandon ends the lease without stopping the item: the heartbeats end, the lease runs out, and the queue hands the item out again. It does
// nothing when the lease has ended.
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
