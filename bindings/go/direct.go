package antenv

import (
	"context"
	"runtime"
)

// maxDirect is how many calls may wait in the library at once.
const maxDirect = 4

// A directQueue is a completion queue for one call at a time, whose goroutine waits in the library. Without it the call's outcome goes from
// the library's thread to the goroutine that drains the shared queue, and from there to the call's goroutine: for calls that are made one
// after the other, these switches take as long as all the rest. In return the call takes a thread, and for some milliseconds one of Go's
// processors (GOMAXPROCS). So only a few calls do this, and only while few are in flight, and one processor is always left.
type directQueue struct{ handle queueHandle }

// acquireDirect returns a queue for a call that may wait in the library, and counts the call; nil if it may not.
func acquireDirect() *directQueue {
	calls.Lock()
	defer calls.Unlock()
	inFlight := calls.direct + len(calls.waiting)
	if calls.queue == nil || inFlight >= min(maxDirect, runtime.GOMAXPROCS(0)-1) {
		return nil
	}
	idle := &calls.queue.direct
	if last := len(*idle) - 1; last >= 0 {
		d := (*idle)[last]
		*idle = (*idle)[:last]
		calls.direct++
		return d
	}
	handle, err := newQueueHandle()
	if err != nil {
		return nil // out of descriptors: the shared queue has one
	}
	calls.direct++
	return &directQueue{handle}
}

// release gives the queue back and no longer counts the call.
func (d *directQueue) release() {
	calls.Lock()
	calls.direct--
	calls.queue.direct = append(calls.queue.direct, d)
	gone := detachUnusedQueue()
	calls.Unlock()
	closeAsync(gone)
}

// run makes the call and returns its outcome.
func (d *directQueue) run(ctx context.Context, client clientHandle, what submission) (Status, []byte, error) {
	ticket, err := what.submit(client, d.handle, 0, ctx.Done() != nil)
	if err != nil {
		return 0, nil, err
	}
	if ticket != nil {
		unwatch := context.AfterFunc(ctx, func() { cancelTicket(ticket) })
		defer func() {
			unwatch()
			freeTicket(ticket) // harmless while it is being cancelled
		}()
	}
	status, text := nextOne(d.handle)
	return status, text, nil
}
