package antenv

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// Worker claims items from the work queue of a self-hosted environment and holds their leases while they are served. Run does all of it
// with a handler; Next returns one item after the other. The library sends the heartbeats, whatever the program's goroutines do. Any number
// of goroutines may use a worker at once.
type Worker struct {
	handle      workerHandle
	items       *arrivals
	onError     func(*Lease, error)
	errorPolicy ErrorPolicy

	attachOnce sync.Once
	attachErr  error
	closeOnce  sync.Once
}

var errWorkerClosed = &Error{Status: StatusInvalidHandle, Message: "the worker was closed"}

// NewWorker makes a worker on this client's connections. It claims nothing before Run or Next. The client's credential is used only if it
// is an environment key, and the client may be closed first. The error is ErrConfig when the configuration is invalid. It does not block.
func (c *Client) NewWorker(config WorkerConfig) (*Worker, error) {
	defer runtime.KeepAlive(c.core)
	switch config.ErrorPolicy {
	case "", FinishOnError, AbandonOnError:
	default:
		message := fmt.Sprintf("`ErrorPolicy` must be %q or %q", FinishOnError, AbandonOnError)
		return nil, &Error{Status: StatusConfig, Message: message, Parameter: "ErrorPolicy"}
	}
	object := config.object()
	text, err := object.nulTerminated()
	if err != nil {
		return nil, err
	}
	handle, err := newWorkerHandle(c.handle, text)
	if err != nil {
		return nil, nameWorkerField(err)
	}
	if err := acquireQueue(); err != nil {
		freeWorker(handle)
		return nil, err
	}
	w := &Worker{handle: handle, items: newArrivals(), onError: config.OnError, errorPolicy: config.ErrorPolicy}
	runtime.SetFinalizer(w, (*Worker).Close)
	return w, nil
}

// Next waits for the next item and returns its lease, which the caller has to end. From the first call on, up to WorkerConfig.Concurrency
// items are claimed, whether or not a call waits for them; an item that no call takes within a minute goes back to the queue.
//
// The error is ErrDone when no more items are to come, because the worker was stopped or closed or the queue is drained; the *Error that
// ended the worker, such as ErrAuthentication, from then on; or ctx.Err() when ctx is done first, which does not stop the worker. The text
// of the last also says how many of the worker's polls have failed, and how.
func (w *Worker) Next(ctx context.Context) (*Lease, error) {
	defer runtime.KeepAlive(w)
	if ctx.Err() != nil {
		return nil, contextError(ctx, "worker.next")
	}
	for {
		handle, item, err := w.tryNext()
		switch {
		case err == nil:
			w.items.notify()
			return newLease(w, handle, item)
		case errors.Is(err, StatusDone), errors.Is(err, StatusInvalidHandle):
			return nil, ErrDone
		case !errors.Is(err, StatusTimeout):
			return nil, err
		}
		select {
		case <-w.items.wake:
		case <-w.items.done:
		case <-ctx.Done():
			return nil, w.addPollFailure(contextError(ctx, "worker.next"))
		}
	}
}

// addPollFailure adds to an error why the last poll failed, if it did.
func (w *Worker) addPollFailure(err error) error {
	stats, failed := w.Stats()
	if failed != nil || stats.LastPollFailure == "" {
		return err
	}
	return fmt.Errorf("%w; the last poll failed: %s", err, stats.LastPollFailure)
}

// tryNext takes an item that is ready. The first call has the library claim items and report them.
func (w *Worker) tryNext() (leaseHandle, []byte, error) {
	w.attachOnce.Do(func() {
		w.attachErr = addListener(w.items.onCompletion, func(queue queueHandle, tag uint64) error { return attachWorker(w.handle, queue, tag) })
	})
	if w.attachErr != nil {
		return nil, nil, w.attachErr
	}
	return nextLease(w.handle)
}

// Stop has the worker claim no more items. Next still returns those that were claimed, and then ErrDone. Leases go on until they are ended;
// when WorkerConfig.Grace is over, those that are left are asked to stop (ErrStopRequested), and their items are stopped. Stopping again
// does nothing. It does not block.
func (w *Worker) Stop() {
	stopWorker(w.handle)
	runtime.KeepAlive(w)
}

// Close stops the worker and frees it. Leases that Next has returned go on as after Stop; other items go back to the queue when their
// leases run out. Calls that wait in Next return ErrDone. Closing again does nothing; the garbage collector closes a worker that is no
// longer referenced, by its leases either. It does not block.
func (w *Worker) Close() {
	w.closeOnce.Do(func() {
		runtime.SetFinalizer(w, nil)
		freeWorker(w.handle)
		w.items.close()
		releaseQueue()
	})
}

// Stats returns what the worker has done so far. After Close the error is ErrClosed. It does not block.
func (w *Worker) Stats() (*WorkerStats, error) {
	defer runtime.KeepAlive(w)
	text, err := workerStats(w.handle)
	return decoded[WorkerStats](text, replaceInvalidHandle(err, errWorkerClosed))
}

// Metrics returns the same counts as text for Prometheus. After Close the error is ErrClosed. It does not block.
func (w *Worker) Metrics() (string, error) {
	defer runtime.KeepAlive(w)
	text, err := workerMetrics(w.handle)
	return string(text), replaceInvalidHandle(err, errWorkerClosed)
}
