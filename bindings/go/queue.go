package antenv

import (
	"context"
	"os"
	"sync"
	"syscall"
)

// A queue is a completion queue of the library with the goroutine that drains it. The goroutine waits in Go's network poller, so it takes no
// thread.
type queue struct {
	handle queueHandle
	file   *os.File       // a duplicate of the queue's descriptor; nil where queues have none
	direct []*directQueue // the idle ones, which close with it
}

func newQueue(deliver func(tag uint64, status Status, json []byte)) (*queue, error) {
	handle, err := newQueueHandle()
	if err != nil {
		return nil, err
	}
	q := &queue{handle: handle}
	if fd := queueFd(handle); fd >= 0 {
		if q.file, err = duplicate(fd); err != nil {
			freeQueue(handle)
			return nil, err
		}
		go q.drain(deliver)
	} else {
		go q.drainBlocking(deliver)
	}
	return q, nil
}

func duplicate(fd int) (*os.File, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	own, err := syscall.Dup(fd)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	syscall.CloseOnExec(own)
	return os.NewFile(uintptr(own), "antenv queue"), nil // non-blocking, as the library's is, so that the poller watches it
}

// drain delivers completions until the queue is closed.
func (q *queue) drain(deliver func(uint64, Status, []byte)) {
	b := newBatch()
	defer b.free()
	watched, err := q.file.SyscallConn()
	if err != nil {
		return
	}
	// Read calls the function once before it waits, and whenever the descriptor has become readable.
	_ = watched.Read(func(uintptr) bool {
		for {
			if more, alive := b.next(q.handle, 0, deliver); !more {
				return !alive
			}
		}
	})
}

func (q *queue) drainBlocking(deliver func(uint64, Status, []byte)) {
	b := newBatch()
	defer b.free()
	for alive := true; alive; {
		_, alive = b.next(q.handle, -1, deliver)
	}
}

func (q *queue) close() {
	if q.file != nil {
		q.file.Close() // ends the goroutine's wait
	}
	freeQueue(q.handle)
	for _, idle := range q.direct {
		freeQueue(idle.handle)
	}
}

// calls holds what completions are for: the calls in flight of all clients, and the listeners to workers and leases. All share one queue,
// which exists while a client, a worker or a lease is open, or something waits.
var calls struct {
	sync.Mutex
	queue     *queue
	users     int // clients, workers and leases
	direct    int // calls that wait in the library, on a queue of their own
	waiting   map[uint64]*call
	listeners map[uint64]listener
	lastTag   uint64
}

// A call is a submitted call. Its channel receives a value when its outcome is there.
type call struct {
	done   chan struct{}
	status Status
	json   []byte
}

// A listener receives the completions of a tag that may have several, and returns whether more may come. It runs in the goroutine that
// drains the queue, and must not refer to what the garbage collector is to close.
type listener func(status Status, json []byte) (more bool)

var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// acquireQueue counts a user of the queue, and makes the queue for the first.
func acquireQueue() error {
	calls.Lock()
	defer calls.Unlock()
	if calls.queue == nil {
		q, err := newQueue(deliver)
		if err != nil {
			return err
		}
		calls.queue, calls.waiting, calls.listeners = q, make(map[uint64]*call), make(map[uint64]listener)
	}
	calls.users++
	return nil
}

// releaseQueue no longer counts a user, and closes the queue after the last.
func releaseQueue() {
	calls.Lock()
	calls.users--
	gone := detachUnusedQueue()
	calls.Unlock()
	if gone != nil {
		gone.close()
	}
}

// detachUnusedQueue returns the queue if it is no longer used, for the caller to close. The caller holds the lock.
func detachUnusedQueue() (gone *queue) {
	if calls.users == 0 && calls.direct == 0 && len(calls.waiting) == 0 && len(calls.listeners) == 0 {
		gone, calls.queue = calls.queue, nil
	}
	return gone
}

// registerCall returns a call that is about to be submitted, and the queue and the tag to submit it with; nil when there is no queue.
func registerCall() (c *call, queue queueHandle, tag uint64) {
	c = callPool.Get().(*call)
	calls.Lock()
	defer calls.Unlock()
	if calls.queue == nil {
		return nil, nil, 0
	}
	calls.lastTag++
	calls.waiting[calls.lastTag] = c
	return c, calls.queue.handle, calls.lastTag
}

// run makes a call and returns its outcome: a status, and the JSON of the result or the error.
func (s submission) run(ctx context.Context, client clientHandle) (Status, []byte, error) {
	if s.file == nil { // a download may take long, so it waits without a thread
		if direct := acquireDirect(); direct != nil {
			defer direct.release()
			return direct.run(ctx, client, s)
		}
	}
	pending, ticket, err := s.start(client, ctx.Done() != nil)
	if err != nil {
		return 0, nil, err
	}
	if ticket != nil {
		select {
		case <-pending.done:
		case <-ctx.Done():
			cancelTicket(ticket)
			<-pending.done // at once; the result may have been quicker
		}
		freeTicket(ticket)
	} else {
		<-pending.done
	}
	status, text := pending.outcome()
	return status, text, nil
}

// start submits a call.
func (s submission) start(client clientHandle, cancellable bool) (*call, ticketHandle, error) {
	c, queue, tag := registerCall()
	if c == nil {
		return nil, nil, errClientClosed
	}
	ticket, err := s.submit(client, queue, tag, cancellable)
	if err != nil {
		unregisterCall(tag)
		return nil, nil, err
	}
	return c, ticket, nil
}

// unregisterCall removes and returns a call; nil if the tag is not a call's.
func unregisterCall(tag uint64) *call {
	calls.Lock()
	c := calls.waiting[tag]
	delete(calls.waiting, tag)
	gone := detachUnusedQueue()
	calls.Unlock()
	closeAsync(gone)
	return c
}

// closeAsync closes a queue, unless it is nil. The caller may be the goroutine that drains the queue, which closing waits for.
func closeAsync(gone *queue) {
	if gone != nil {
		go gone.close()
	}
}

// outcome returns the outcome of a call that has ended, and reuses the call.
func (c *call) outcome() (Status, []byte) {
	status, text := c.status, c.json
	c.json = nil
	callPool.Put(c)
	return status, text
}

// addListener delivers the completions of a new tag to a listener. attach receives the queue and the tag.
func addListener(to listener, attach func(queue queueHandle, tag uint64) error) error {
	calls.Lock()
	if calls.queue == nil {
		calls.Unlock()
		return errClientClosed
	}
	calls.lastTag++
	tag, queue := calls.lastTag, calls.queue.handle
	calls.listeners[tag] = to
	calls.Unlock()
	err := attach(queue, tag)
	if err != nil {
		removeListener(tag)
	}
	return err
}

// arrivals is what the queue's goroutine reports to the goroutines that wait for items or calls. It does not hold the worker or session, so that
// the garbage collector can close it.
type arrivals struct {
	wake      chan struct{} // holds one wake-up; a goroutine that takes one of them passes it on, for there may be more
	done      chan struct{} // closed when no more are to come
	closeOnce sync.Once
}

func newArrivals() *arrivals {
	return &arrivals{wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// onCompletion receives the library's reports: that one is ready, or that no more are to come.
func (a *arrivals) onCompletion(status Status, _ []byte) (more bool) {
	if status == StatusOK {
		a.notify()
		return true
	}
	a.close()
	return false
}

func (a *arrivals) notify() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *arrivals) close() { a.closeOnce.Do(func() { close(a.done) }) }

// removeListener removes a tag's listener.
func removeListener(tag uint64) {
	calls.Lock()
	delete(calls.listeners, tag)
	gone := detachUnusedQueue()
	calls.Unlock()
	closeAsync(gone)
}

func deliver(tag uint64, status Status, json []byte) {
	if c := unregisterCall(tag); c != nil {
		c.status, c.json = status, json
		c.done <- struct{}{}
		return
	}
	calls.Lock()
	to := calls.listeners[tag]
	calls.Unlock()
	if to != nil && !to(status, json) {
		removeListener(tag)
	}
}
