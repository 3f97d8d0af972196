package antenv

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

// Worker claims items from the work queue of a self-hosted environment and holds their leases while they are served: Run does all of it
// with a handler, Next hands out one item after the other. Heartbeats are the library's, whatever the program's goroutines do. Any number
// of goroutines may use it at once.
type Worker struct {
	handle  workerHandle
	events  *workerEvents
	onError func(*Lease, error)

	attachOnce sync.Once
	attachErr  error
	closeOnce  sync.Once
}

// workerEvents is what the queue's goroutine tells those who wait for items. It does not hold the worker, so that the garbage collector can
// close that.
type workerEvents struct {
	wake      chan struct{} // holds one wake-up: who takes an item passes it on, for there may be more
	done      chan struct{} // closed when nothing more is to come
	closeOnce sync.Once
}

var errWorkerClosed = &Error{Status: StatusInvalidHandle, Message: "the worker was closed"}

// NewWorker makes a worker on this client's connections. It claims nothing before Run or Next. The client's credential is not used, unless
// it is an environment key, and the client may be closed first. An error is ErrConfig when the configuration is not acceptable.
func (c *Client) NewWorker(config WorkerConfig) (*Worker, error) {
	defer runtime.KeepAlive(c.core)
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
	events := &workerEvents{wake: make(chan struct{}, 1), done: make(chan struct{})}
	w := &Worker{handle: handle, events: events, onError: config.OnError}
	runtime.SetFinalizer(w, (*Worker).Close)
	return w, nil
}

// Next waits for the next item and returns its lease, which is for the caller to finish. From the first call on, as many items are claimed
// as WorkerConfig.Concurrency allows; one that nobody takes within a minute goes back to the queue. The error is ErrDone when there is
// nothing more to come, because the worker was stopped or closed or the queue is drained; an *Error for which the worker gave up, such as
// ErrAuthentication, then and from then on; or ctx.Err() when the context is done first, which does not stop the worker.
func (w *Worker) Next(ctx context.Context) (*Lease, error) {
	defer runtime.KeepAlive(w)
	if ctx.Err() != nil {
		return nil, contextError(ctx, "worker.next")
	}
	for {
		handle, item, err := w.tryNext()
		switch {
		case err == nil:
			w.events.notify()
			return w.newLease(handle, item)
		case errors.Is(err, StatusDone), errors.Is(err, StatusInvalidHandle):
			return nil, ErrDone
		case !errors.Is(err, StatusTimeout):
			return nil, err
		}
		select {
		case <-w.events.wake:
		case <-w.events.done:
		case <-ctx.Done():
			return nil, contextError(ctx, "worker.next")
		}
	}
}

// tryNext takes an item that is ready. The first time, it has the library claim items and tell of them.
func (w *Worker) tryNext() (leaseHandle, []byte, error) {
	w.attachOnce.Do(func() {
		w.attachErr = addListener(w.events.onCompletion, func(queue queueHandle, tag uint64) error { return attachWorker(w.handle, queue, tag) })
	})
	if w.attachErr != nil {
		return nil, nil, w.attachErr
	}
	return nextLease(w.handle)
}

// onCompletion takes what the library tells: of an item, or that nothing more is to come.
func (e *workerEvents) onCompletion(status Status, _ []byte) (more bool) {
	if status == StatusOK {
		e.notify()
		return true
	}
	e.close()
	return false
}

func (e *workerEvents) notify() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *workerEvents) close() { e.closeOnce.Do(func() { close(e.done) }) }

// Stop has the worker claim no more. What was claimed is still handed out by Next, and then comes ErrDone. Leases go on until they are
// finished; when WorkerConfig.Grace is over, those that are left are told (ErrStopRequested), and their items stopped.
func (w *Worker) Stop() {
	stopWorker(w.handle)
	runtime.KeepAlive(w)
}

// Close stops the worker and frees it. Leases that were handed out go on as after Stop; items that were not go back to the queue when their
// leases run out. Who waits in Next gets ErrDone. Closing again does nothing; a worker that is forgotten, its leases too, is closed by the
// garbage collector.
func (w *Worker) Close() {
	w.closeOnce.Do(func() {
		runtime.SetFinalizer(w, nil)
		freeWorker(w.handle)
		w.events.close()
		releaseQueue()
	})
}

// Stats returns what the worker did so far. After Close the error is ErrClosed.
func (w *Worker) Stats() (*WorkerStats, error) {
	defer runtime.KeepAlive(w)
	text, err := workerStats(w.handle)
	return decoded[WorkerStats](text, replaceInvalidHandle(err, errWorkerClosed))
}

// Metrics returns the same as text for Prometheus.
func (w *Worker) Metrics() (string, error) {
	defer runtime.KeepAlive(w)
	text, err := workerMetrics(w.handle)
	return string(text), replaceInvalidHandle(err, errWorkerClosed)
}
