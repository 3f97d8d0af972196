package antenv

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Run serves items until there is nothing more to come: each in a goroutine of its own, as many at once as WorkerConfig.Concurrency says.
//
// The handler's context has ctx's values, and is cancelled when the lease is no longer simply held; context.Cause then is a *LeaseError,
// of the kind ErrLeaseLost (stop at once: somebody else may be at it) or ErrStopRequested (end the work). When the handler has returned,
// the item is stopped, unless the handler did so with Lease.Finish, or gave it back with Lease.Abandon, or the lease is lost. What the
// handler returns goes to WorkerConfig.OnError, and Run goes on; it also goes on when the handler panics, which OnError is told as a
// *PanicError.
//
// When ctx is done the worker is stopped, as by Stop: it claims no more, what it has claimed is still served, and handlers go on. They are
// cancelled (ErrStopRequested) when WorkerConfig.Grace is over.
//
// Run returns when all handlers have: nil when ctx is done, the worker was stopped or closed, or the queue is drained; or the *Error for
// which the worker gave up, such as ErrAuthentication.
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

// serve serves one item, to its end.
func (w *Worker) serve(ctx context.Context, lease *Lease, handle func(context.Context, *Lease) error) {
	handlerCtx, cancel := context.WithCancelCause(ctx)
	unwatch := context.AfterFunc(lease.ctx, func() {
		if err := lease.Err(); err != nil {
			cancel(err)
		}
	})
	err := errors.New("antenv: the handler ended its goroutine")
	defer func() { // also then
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
		unwatch()
		cancel(nil)
		if !lease.hasEnded() {
			if _, failed := lease.Finish(ctx); !errors.Is(err, ErrLeaseLost) { // or it says the same
				err = errors.Join(err, failed)
			}
		}
		if err != nil {
			w.report(lease, err)
		}
	}()
	err = handle(handlerCtx, lease)
}

func (w *Worker) report(lease *Lease, err error) {
	if w.onError != nil {
		w.onError(lease, err)
	} else {
		currentLogger().Error("serving a work item failed", "work_id", lease.Work.ID, "error", err)
	}
}

// PanicError says that a handler panicked.
type PanicError struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is where, as debug.Stack has it.
	Stack []byte
}

// Error returns the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("antenv: the handler panicked: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
