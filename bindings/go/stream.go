package antenv

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"runtime"
	"syscall"
	"time"
)

// An eventStream is an open stream with a completion queue of its own: while its events are not taken, they stay in the library, and the
// server has to wait. The goroutine that takes them waits in Go's network poller, so it takes no thread.
type eventStream struct {
	ctx      context.Context
	name     string
	settings *settings
	handle   streamHandle
	queue    queueHandle
	file     *os.File        // a duplicate of the queue's descriptor; nil where queues have none
	watched  syscall.RawConn // the file's
	batch    batch
	ready    []completion // taken from the queue
	unwatch  func() bool  // no longer closes the stream when the context is done
}

type completion struct {
	status Status
	json   []byte
}

// streamEvents returns an iterator that opens a stream and yields its events.
func streamEvents(ctx context.Context, c *core, operation []byte, s *settings) iter.Seq2[*Event, error] {
	s.remove("with_response") // the library always reports on the response
	return func(yield func(*Event, error) bool) {
		stream, err := openStream(ctx, c, submission{operation: operation}, s)
		if err != nil {
			yield(nil, err)
			return
		}
		defer stream.close()
		for {
			text, err := stream.next()
			switch {
			case err != nil:
				yield(nil, err)
				return
			case text == nil:
				return
			}
			event := &Event{}
			if err := event.decode(text); err != nil {
				yield(nil, err)
				return
			}
			if !yield(event, nil) {
				return
			}
		}
	}
}

// openStream opens a stream and waits until the server has responded.
func openStream(ctx context.Context, c *core, what submission, s *settings) (*eventStream, error) {
	stream := &eventStream{ctx: ctx, name: what.name(), settings: s}
	if ctx.Err() != nil {
		return nil, contextError(ctx, stream.name)
	}
	params, err := s.nulTerminated()
	if err != nil {
		return nil, err
	}
	if err := stream.submit(c, what.operation, params); err != nil {
		return nil, err
	}
	text, err := stream.next()
	if err == nil {
		err = s.fillResponse(text)
	}
	if err != nil {
		stream.close()
		return nil, err
	}
	return stream, nil
}

func (e *eventStream) submit(c *core, operation, params []byte) (err error) {
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
	e.unwatch = context.AfterFunc(e.ctx, func() {
		defer enterNative()()
		freeStream(e.handle) // ends the request, also while the loop's body runs
		if e.file != nil {
			_ = e.file.SetReadDeadline(time.Unix(1, 0)) // wakes the goroutine that waits for an event
		} else {
			freeQueue(e.queue)
		}
	})
	return nil
}

// next waits for the next completion and returns its JSON; nil at the stream's end.
func (e *eventStream) next() ([]byte, error) {
	for {
		if e.ctx.Err() != nil {
			return nil, contextError(e.ctx, e.name)
		}
		if len(e.ready) > 0 {
			break
		}
		if err := e.take(); err != nil && e.ctx.Err() == nil {
			return nil, err
		}
	}
	one := e.ready[0]
	e.ready[0], e.ready = completion{}, e.ready[1:]
	switch one.status {
	case StatusOK:
		return one.json, nil
	case StatusDone:
		return nil, nil
	}
	return nil, e.settings.fail(one.status, one.json)
}

// take waits until there are completions, and takes them.
func (e *eventStream) take() error {
	e.ready = nil
	deliver := func(_ uint64, status Status, json []byte) { e.ready = append(e.ready, completion{status, json}) }
	alive := true
	if e.file == nil {
		_, alive = e.batch.next(e.queue, -1, deliver)
	} else if err := e.watched.Read(func(uintptr) bool {
		leave := enterNative()
		_, alive = e.batch.next(e.queue, 0, deliver)
		leave()
		return !alive || len(e.ready) > 0
	}); err != nil {
		return fmt.Errorf("antenv: %s: %w", e.name, err)
	}
	if !alive && len(e.ready) == 0 {
		return &Error{Status: StatusClosed, Message: "the stream's queue was closed", Operation: e.name}
	}
	return nil
}

// close ends the stream.
func (e *eventStream) close() {
	e.unwatch()
	defer enterNative()()
	freeStream(e.handle)
	e.freeQueue()
	e.batch.free()
}

func (e *eventStream) freeQueue() {
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
