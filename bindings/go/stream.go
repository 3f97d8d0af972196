package antenv

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// EventStream is an open stream of a session's events. Any goroutine may close it; one at a time may take its events. The garbage collector
// closes a stream that is no longer referenced.
type EventStream struct {
	ctx      context.Context
	name     string
	settings *settings
	handle   streamHandle
	// The stream has a queue of its own: while its events are not taken, they stay in the library, and the server has to wait. The goroutine
	// that takes them waits in Go's network poller, so it takes no thread.
	queue   queueHandle
	file    *os.File        // a duplicate of the queue's descriptor; nil where queues have none
	watched syscall.RawConn // the file's
	end     func()          // ends the stream, and wakes the goroutine that waits for an event
	unwatch func() bool     // no longer ends the stream when the context is done

	mu     sync.Mutex
	closed bool
	batch  batch
	ready  []completion // taken from the queue
}

type completion struct {
	status Status
	json   []byte
}

var errStreamClosed = &Error{Status: StatusInvalidHandle, Message: "the stream was closed"}

// streamEvents returns an iterator that opens a stream, yields its events, and closes it.
func streamEvents(ctx context.Context, c *core, operation []byte, s *settings) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		stream, err := openStream(ctx, c, operation, s)
		if err != nil {
			yield(nil, err)
			return
		}
		defer stream.Close()
		stream.Events()(yield)
	}
}

// openStream opens a stream and waits until the server has responded.
func openStream(ctx context.Context, c *core, operation []byte, s *settings) (*EventStream, error) {
	stream := &EventStream{ctx: ctx, name: submission{operation: operation}.name(), settings: s}
	if ctx.Err() != nil {
		return nil, contextError(ctx, stream.name)
	}
	s.remove("with_response") // the library reports on every stream's response
	params, err := s.nulTerminated()
	if err != nil {
		return nil, err
	}
	if err := stream.submit(c, operation, params); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(stream, (*EventStream).Close)
	text, err := stream.next()
	if err == nil {
		err = s.fillResponse(text)
	}
	if err != nil {
		stream.Close()
		return nil, err
	}
	return stream, nil
}

// Events returns the events that are not taken yet, as they happen. The loop ends without an error when the server has ended the stream.
// Otherwise an error ends it: an *Error, ErrClosed after Close, or one that wraps ctx.Err() when the context that opened the stream is done.
// Leaving the loop does not close the stream; another loop goes on with the next event.
func (e *EventStream) Events() iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for {
			event := &Event{}
			text, err := e.next()
			if err == nil && text == nil {
				return
			}
			if err == nil {
				err = event.decode(text)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(event, nil) {
				return
			}
		}
	}
}

// Close ends the stream and its request. Closing again does nothing.
func (e *EventStream) Close() {
	e.unwatch()
	e.end()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	e.closed, e.ready = true, nil
	runtime.SetFinalizer(e, nil)
	e.freeQueue()
	e.batch.free()
}

func (e *EventStream) submit(c *core, operation, params []byte) (err error) {
	defer enterNative()()
	if e.queue, err = newQueueHandle(); err != nil {
		return err
	}
	if fd := queueFd(e.queue); fd >= 0 {
		if e.file, err = duplicate(fd); err == nil {
			e.watched, err = e.file.SyscallConn()
		}
	}
	if err == nil {
		e.handle, err = submitStream(c.handle, e.queue, operation, params)
		runtime.KeepAlive(c)
	}
	if err != nil {
		e.freeQueue()
		return err
	}
	e.batch = newBatch()
	handle, queue, file := e.handle, e.queue, e.file // and not the stream, which the garbage collector is to close
	e.end = func() {
		defer enterNative()()
		freeStream(handle)
		if file != nil {
			_ = file.SetReadDeadline(time.Unix(1, 0))
		} else {
			freeQueue(queue)
		}
	}
	e.unwatch = context.AfterFunc(e.ctx, e.end)
	return nil
}

// next waits for the next completion and returns its JSON; nil at the stream's end.
func (e *EventStream) next() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.ready) == 0 && !e.closed && e.ctx.Err() == nil && e.take() {
	}
	switch {
	case e.ctx.Err() != nil:
		return nil, contextError(e.ctx, e.name)
	case len(e.ready) == 0:
		return nil, errStreamClosed
	}
	one := e.ready[0]
	switch one.status {
	case StatusOK:
		e.ready[0], e.ready = completion{}, e.ready[1:]
		return one.json, nil
	case StatusDone: // stays, as the error of a stream that broke does: it is the last
		return nil, nil
	}
	return nil, e.settings.fail(one.status, one.json)
}

// take waits until there are completions, and takes them. It returns false when the stream was ended meanwhile.
func (e *EventStream) take() bool {
	e.ready = nil
	deliver := func(_ uint64, status Status, json []byte) { e.ready = append(e.ready, completion{status, json}) }
	alive := true
	if e.file == nil {
		_, alive = e.batch.next(e.queue, -1, deliver)
		return alive
	}
	err := e.watched.Read(func(uintptr) bool {
		defer enterNative()()
		_, alive = e.batch.next(e.queue, 0, deliver)
		return !alive || len(e.ready) > 0
	})
	return err == nil && alive
}

func (e *EventStream) freeQueue() {
	if e.file != nil {
		e.file.Close()
	}
	freeQueue(e.queue)
}

// fillResponse fills in what WithResponse asks for, from a report on the response.
func (s *settings) fillResponse(report []byte) error {
	if s.response == nil {
		return nil
	}
	var described struct {
		*Response
		Headers map[string]string `json:"headers"`
	}
	described.Response = s.response
	if err := json.Unmarshal(report, &described); err != nil {
		return fmt.Errorf("antenv: %w", err)
	}
	s.response.Header = httpHeader(described.Headers)
	return nil
}
