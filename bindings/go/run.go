package antenv

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// ErrorPolicy is what Worker.Run does with an item whose handler returns an error or panics.
type ErrorPolicy string

// The policies.
const (
	// FinishOnError stops the item, so that it is not served again. It is the default.
	FinishOnError ErrorPolicy = "finish"
	// AbandonOnError leaves the item to the queue, which hands it out again when its lease has run out. An item that is to be stopped is
	// stopped all the same.
	AbandonOnError ErrorPolicy = "abandon"
)

// Run serves items until no more are to come: each in a goroutine of its own, up to WorkerConfig.Concurrency at once.
//
// The handler's context carries ctx's values. It is cancelled when the lease is lost or its item is to be stopped; context.Cause then
// returns a *LeaseError, of the kind ErrLeaseLost (stop at once: another worker may be serving the item) or ErrStopRequested (end the
// work). When the handler has returned, the item is stopped, unless the handler has ended the lease with Lease.Finish, Lease.Release or
// Lease.Abandon, or the lease is lost. If the handler returns an error or panics, WorkerConfig.ErrorPolicy decides whether the item is stopped;
// WorkerConfig.OnError receives the error, or a *PanicError, and Run goes on.
//
// When ctx is done, the worker stops, as with Stop: it claims no more items, and handlers go on with those it has claimed. When
// WorkerConfig.Grace is over, their contexts are cancelled (ErrStopRequested).
//
// Run returns when all handlers have returned: nil when ctx is done, the worker was stopped or closed, or the queue is drained; otherwise
// the *Error that ended the worker, such as ErrAuthentication.
func (w *Worker) Run(ctx context.Context, handle func(ctx context.Context, lease *Lease) error) error {
	if ctx.Err() != nil {
		w.Stop()
	}
	unwatch := context.AfterFunc(ctx, w.Stop)
	defer unwatch()
	ctx = context.WithoutCancel(ctx)
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for {
		lease, err := w.Next(ctx)
		if errors.Is(err, ErrDone) {
			return nil
		}
		if err != nil {
			return err
		}
		handlers.Add(1)
		go func() {
			defer handlers.Done()
			w.serve(ctx, lease, handle)
		}()
	}
}

// serve serves one item, from the handler's call to the end of the lease.
func (w *Worker) serve(ctx context.Context, lease *Lease, handle func(context.Context, *Lease) error) {
	handlerCtx, cancel := context.WithCancelCause(ctx)
	unwatch := context.AfterFunc(lease.ctx, func() {
		if err := lease.Err(); err != nil {
			cancel(err)
		}
	})
	err := errors.New("antenv: the handler ended its goroutine")
	defer func() { // runs after a panic and runtime.Goexit, too
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
		unwatch()
		cancel(nil)
		err = w.conclude(ctx, lease, err)
		if err != nil {
			w.report(lease, err)
		}
	}()
	err = handle(handlerCtx, lease)
}

// conclude ends the lease of an item whose handler has returned. It returns the handler's error and its own.
func (w *Worker) conclude(ctx context.Context, lease *Lease, handlerErr error) error {
	if lease.hasEnded() {
		return handlerErr
	}
	if handlerErr != nil && w.errorPolicy == AbandonOnError {
		if state, err := lease.State(); err == nil && (state.State == LeaseHeld || state.State == LeaseClaimed) {
			lease.Abandon()
			return handlerErr
		}
	}
	_, err := lease.Finish(ctx)
	if errors.Is(handlerErr, ErrLeaseLost) {
		return handlerErr // Finish reports the same
	}
	return errors.Join(handlerErr, err)
}

func (w *Worker) report(lease *Lease, err error) {
	if w.onError != nil {
		w.onError(lease, err)
	} else {
		currentLogger().Error("serving a work item failed", "work_id", lease.Work.ID, "error", err)
	}
}

// PanicError reports that a handler panicked.
type PanicError struct {
	// Value is the value that the handler panicked with.
	Value any
	// Stack is the stack of the handler's goroutine, as debug.Stack formats it.
	Stack []byte
}

// Error returns the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("antenv: the handler panicked: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value if it is an error, otherwise nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
