package antenv

import (
	"os"
	"sync"
	"syscall"
)

// A queue is a completion queue of the library and the goroutine that drains it. The goroutine waits where Go waits for sockets, so
// it takes no thread.
type queue struct {
	handle queueHandle
	file   *os.File // a duplicate of the queue's descriptor; nil where queues have none
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
	var b batch
	watched, err := q.file.SyscallConn()
	if err != nil {
		return
	}
	// Read calls the function once before it waits and whenever the descriptor became readable.
	_ = watched.Read(func(uintptr) bool {
		for {
			some, alive := b.next(q.handle, 0, deliver)
			if !some {
				return !alive
			}
		}
	})
	b.next(nil, 0, deliver) // frees the last strings
}

func (q *queue) drainBlocking(deliver func(uint64, Status, []byte)) {
	var b batch
	for alive := true; alive; {
		_, alive = b.next(q.handle, -1, deliver)
	}
}

func (q *queue) close() {
	if q.file != nil {
		q.file.Close() // ends the goroutine's wait
	}
	freeQueue(q.handle)
}

// calls are the calls in flight of all clients, on one queue. It is there while a client is open or a call is in flight.
var calls struct {
	sync.Mutex
	queue   *queue
	clients int
	waiting map[uint64]*call
	lastTag uint64
}

// A call is one that was submitted; its outcome comes over the channel.
type call struct {
	done   chan struct{}
	status Status
	json   []byte
}

var idleCalls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// openClient counts a client in, and makes the queue for the first.
func openClient() error {
	calls.Lock()
	defer calls.Unlock()
	if calls.queue == nil {
		q, err := newQueue(deliverCall)
		if err != nil {
			return err
		}
		calls.queue, calls.waiting = q, make(map[uint64]*call)
	}
	calls.clients++
	return nil
}

// closeClient counts a client out.
func closeClient() {
	calls.Lock()
	calls.clients--
	gone := unusedQueue()
	calls.Unlock()
	if gone != nil {
		gone.close()
	}
}

// unusedQueue is the queue if nobody needs it any more. It is for the caller to close, who holds the lock.
func unusedQueue() (gone *queue) {
	if calls.clients == 0 && len(calls.waiting) == 0 {
		gone, calls.queue = calls.queue, nil
	}
	return gone
}

// begin counts a call in and submits it.
func (s submission) begin(client clientHandle, cancellable bool) (*call, ticketHandle, error) {
	c := idleCalls.Get().(*call)
	calls.Lock()
	if calls.queue == nil {
		calls.Unlock()
		return nil, nil, errClosed
	}
	calls.lastTag++
	tag, handle := calls.lastTag, calls.queue.handle
	calls.waiting[tag] = c
	calls.Unlock()
	ticket, err := s.submit(client, handle, tag, cancellable)
	if err != nil {
		settle(tag)
		return nil, nil, err
	}
	return c, ticket, nil
}

// settle counts a call out.
func settle(tag uint64) *call {
	calls.Lock()
	c := calls.waiting[tag]
	delete(calls.waiting, tag)
	gone := unusedQueue()
	calls.Unlock()
	if gone != nil {
		go gone.close() // which waits for the draining goroutine: that may be this one
	}
	return c
}

func deliverCall(tag uint64, status Status, json []byte) {
	if c := settle(tag); c != nil {
		c.status, c.json = status, json
		c.done <- struct{}{}
	}
}
