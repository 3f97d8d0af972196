package antenv

import (
	"context"
	"os"
	"sync"
	"syscall"
)

// A queue is a completion queue of the library and the goroutine that drains it. The goroutine waits where Go waits for sockets, so
// it takes no thread.
type queue struct {
	handle queueHandle
	file   *os.File       // a duplicate of the queue's descriptor; nil where queues have none
	direct []*directQueue // those that nobody waits on, which go with it
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
	return os.NewFile(uintptr(own), "antenv queue"), nil // not blocking, as the library's is, and so watched by the poller
}

// drain ends when the queue is closed.
func (q *queue) drain(deliver func(uint64, Status, []byte)) {
	b := newBatch()
	defer b.free()
	watched, err := q.file.SyscallConn()
	if err != nil {
		return
	}
	// Read calls the function once before it waits and whenever the descriptor became readable.
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

// calls are what completions are for: the calls in flight of all clients, and what listens to workers and leases, on one queue. It is
// there while a client, a worker or a lease is open, or something waits.
var calls struct {
	sync.Mutex
	queue     *queue
	users     int // clients, workers and leases
	direct    int // calls that wait in the library
	waiting   map[uint64]*call
	listeners map[uint64]listener
	lastTag   uint64
}

// A call is one that was submitted; its outcome comes over the channel.
type call struct {
	done   chan struct{}
	status Status
	json   []byte
}

// A listener takes the completions of a tag that may have several, and tells whether more may come. It runs in the goroutine that drains
// the queue, and must not hold what the garbage collector is to close.
type listener func(status Status, json []byte) (more bool)

var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// acquireQueue counts a user in, and makes the queue for the first.
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

// releaseQueue counts a user out.
func releaseQueue() {
	calls.Lock()
	calls.users--
	gone := detachUnusedQueue()
	calls.Unlock()
	if gone != nil {
		gone.close()
	}
}

// detachUnusedQueue is the queue if nobody needs it any more. It is for the caller to close, who holds the lock.
func detachUnusedQueue() (gone *queue) {
	if calls.users == 0 && calls.direct == 0 && len(calls.waiting) == 0 && len(calls.listeners) == 0 {
		gone, calls.queue = calls.queue, nil
	}
	return gone
}

// registerCall counts a call in that is to be submitted to the queue with the tag; nil when there is no queue.
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

// run makes a call and returns its outcome: the result's JSON, or the error's.
func (s submission) run(ctx context.Context, client clientHandle) (Status, []byte, error) {
	if direct := acquireDirect(); direct != nil {
		defer direct.release()
		return direct.run(ctx, client, s)
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
			<-pending.done // it comes at once, and may bring the result all the same
		}
		freeTicket(ticket)
	} else {
		<-pending.done
	}
	status, text := pending.outcome()
	return status, text, nil
}

// start counts a call in and submits it.
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

// unregisterCall counts a call out.
func unregisterCall(tag uint64) *call {
	calls.Lock()
	c := calls.waiting[tag]
	delete(calls.waiting, tag)
	gone := detachUnusedQueue()
	calls.Unlock()
	closeAsync(gone)
	return c
}

// closeAsync closes a queue, if it is one, from a goroutine that may be the one that drains it: closing waits for that.
func closeAsync(gone *queue) {
	if gone != nil {
		go gone.close()
	}
}

// outcome takes what came of a call, which is over with that.
func (c *call) outcome() (Status, []byte) {
	status, text := c.status, c.json
	c.json = nil
	callPool.Put(c)
	return status, text
}

// addListener has completions for a listener come to the queue, with the tag that `attach` gets.
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

// removeListener ends listening.
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
