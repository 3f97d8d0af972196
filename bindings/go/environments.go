package antenv

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"reflect"
)

// Environments has the operations on environments. They take an API key. Each blocks until the call is done, takes call options, and
// returns an *Error, or an error that wraps ctx.Err() when the context is done first.
type Environments struct {
	// Work has the operations on the work queue of self-hosted environments.
	Work *WorkQueue

	client *core
}

// WorkQueue has the operations on the work queue of a self-hosted environment. List, Poll, Ack and Heartbeat take the environment's key,
// Retrieve and Update an API key, Stats and Stop either. Each blocks until the call is done, takes call options, and returns an *Error, or
// an error that wraps ctx.Err() when the context is done first.
type WorkQueue struct{ client *core }

// The operations' names, each with a NUL at its end.
var (
	environmentsCreate   = []byte("environments.create\x00")
	environmentsList     = []byte("environments.list\x00")
	environmentsRetrieve = []byte("environments.retrieve\x00")
	environmentsUpdate   = []byte("environments.update\x00")
	environmentsDelete   = []byte("environments.delete\x00")
	environmentsArchive  = []byte("environments.archive\x00")
	workList             = []byte("work.list\x00")
	workPoll             = []byte("work.poll\x00")
	workStats            = []byte("work.stats\x00")
	workRetrieve         = []byte("work.retrieve\x00")
	workUpdate           = []byte("work.update\x00")
	workAck              = []byte("work.ack\x00")
	workHeartbeat        = []byte("work.heartbeat\x00")
	workStop             = []byte("work.stop\x00")
)

// do calls an operation and decodes its result; nil when that is null.
func do[T any](ctx context.Context, c *core, operation []byte, s *settings) (*T, error) {
	return decoded[T](c.call(ctx, submission{operation: operation}, s))
}

// decoded decodes a call's result, unless the call failed; nil when the result is null.
func decoded[T any](text []byte, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	var result *T
	if err := decodeValue(bytes.TrimSpace(text), reflect.ValueOf(&result).Elem()); err != nil {
		return nil, fmt.Errorf("antenv: the response is not what the API describes: %w", err)
	}
	return result, nil
}

// pages fetches one page after the other, as long as the caller asks for items.
func pages[T any](fetch func(cursor string) (*Page[T], error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for cursor := ""; ; {
			page, err := fetch(cursor)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, item := range page.Data {
				if !yield(item, nil) {
					return
				}
			}
			if cursor = page.NextPage; cursor == "" {
				return
			}
		}
	}
}

// callSettings returns the settings of a call: its options, its parameters (a struct, or nil), and the identifiers of an environment and an
// item.
func callSettings(options []Option, params any, ids ...string) *settings {
	s := newSettings(options)
	for i, id := range ids {
		s.add([...]string{"environment_id", "work_id"}[i], id)
	}
	if params != nil {
		s.addFields(params)
	}
	return s
}

// Create creates an environment (POST /v1/environments, Create Environment).
func (e *Environments) Create(ctx context.Context, params EnvironmentCreateParams, options ...Option) (*Environment, error) {
	return do[Environment](ctx, e.client, environmentsCreate, callSettings(options, params))
}

// List iterates over all environments (GET /v1/environments, List Environments). Pages are fetched as they are needed. An error ends the
// iteration.
func (e *Environments) List(ctx context.Context, params EnvironmentListParams, options ...Option) iter.Seq2[*Environment, error] {
	return pages(func(cursor string) (*Page[Environment], error) {
		if cursor != "" {
			params.Page = String(cursor)
		}
		return e.ListPage(ctx, params, options...)
	})
}

// ListPage returns one page of environments. Page.NextPage is the next page's cursor.
func (e *Environments) ListPage(ctx context.Context, params EnvironmentListParams, options ...Option) (*Page[Environment], error) {
	return do[Page[Environment]](ctx, e.client, environmentsList, callSettings(options, params))
}

// Retrieve returns an environment (GET /v1/environments/{environment_id}, Get Environment).
func (e *Environments) Retrieve(ctx context.Context, environmentID string, options ...Option) (*Environment, error) {
	return do[Environment](ctx, e.client, environmentsRetrieve, callSettings(options, nil, environmentID))
}

// Update changes an environment (POST /v1/environments/{environment_id}, Update Environment). Absent parameters change nothing.
func (e *Environments) Update(ctx context.Context, environmentID string, params EnvironmentUpdateParams, options ...Option) (*Environment, error) {
	return do[Environment](ctx, e.client, environmentsUpdate, callSettings(options, params, environmentID))
}

// Delete deletes an environment (DELETE /v1/environments/{environment_id}, Delete Environment).
func (e *Environments) Delete(ctx context.Context, environmentID string, options ...Option) (*EnvironmentDeleted, error) {
	return do[EnvironmentDeleted](ctx, e.client, environmentsDelete, callSettings(options, nil, environmentID))
}

// Archive archives an environment (POST /v1/environments/{environment_id}/archive, Archive Environment): it takes no new sessions.
func (e *Environments) Archive(ctx context.Context, environmentID string, options ...Option) (*Environment, error) {
	return do[Environment](ctx, e.client, environmentsArchive, callSettings(options, nil, environmentID))
}

// List iterates over all work items (GET /v1/environments/{environment_id}/work, List Work Items). Pages are fetched as they are needed. An
// error ends the iteration.
func (w *WorkQueue) List(ctx context.Context, environmentID string, params WorkListParams, options ...Option) iter.Seq2[*Work, error] {
	return pages(func(cursor string) (*Page[Work], error) {
		if cursor != "" {
			params.Page = String(cursor)
		}
		return w.ListPage(ctx, environmentID, params, options...)
	})
}

// ListPage returns one page of work items. Page.NextPage is the next page's cursor.
func (w *WorkQueue) ListPage(ctx context.Context, environmentID string, params WorkListParams, options ...Option) (*Page[Work], error) {
	return do[Page[Work]](ctx, w.client, workList, callSettings(options, params, environmentID))
}

// Poll claims the next item (GET /v1/environments/{environment_id}/work/poll, Poll for Work). It returns nil and no error when there is
// none. Acknowledge the item soon, or another poll may claim it.
func (w *WorkQueue) Poll(ctx context.Context, environmentID string, params WorkPollParams, options ...Option) (*Work, error) {
	return do[Work](ctx, w.client, workPoll, callSettings(options, params, environmentID))
}

// Stats returns the queue's statistics (GET /v1/environments/{environment_id}/work/stats, Get Queue Statistics).
func (w *WorkQueue) Stats(ctx context.Context, environmentID string, options ...Option) (*WorkQueueStats, error) {
	return do[WorkQueueStats](ctx, w.client, workStats, callSettings(options, nil, environmentID))
}

// Retrieve returns an item (GET /v1/environments/{environment_id}/work/{work_id}, Get Work Item).
func (w *WorkQueue) Retrieve(ctx context.Context, environmentID, workID string, options ...Option) (*Work, error) {
	return do[Work](ctx, w.client, workRetrieve, callSettings(options, nil, environmentID, workID))
}

// Update changes an item's metadata (POST /v1/environments/{environment_id}/work/{work_id}, Update Work Item).
func (w *WorkQueue) Update(ctx context.Context, environmentID, workID string, params WorkUpdateParams, options ...Option) (*Work, error) {
	return do[Work](ctx, w.client, workUpdate, callSettings(options, params, environmentID, workID))
}

// Ack acknowledges an item (POST /v1/environments/{environment_id}/work/{work_id}/ack, Acknowledge Work): it leaves the queue.
func (w *WorkQueue) Ack(ctx context.Context, environmentID, workID string, options ...Option) (*Work, error) {
	return do[Work](ctx, w.client, workAck, callSettings(options, nil, environmentID, workID))
}

// Heartbeat extends an item's lease (POST /v1/environments/{environment_id}/work/{work_id}/heartbeat, Record Heartbeat). The error is
// ErrPreconditionFailed when the last heartbeat is not the expected one: another worker may hold the lease.
func (w *WorkQueue) Heartbeat(ctx context.Context, environmentID, workID string, params WorkHeartbeatParams, options ...Option) (*WorkHeartbeat, error) {
	return do[WorkHeartbeat](ctx, w.client, workHeartbeat, callSettings(options, params, environmentID, workID))
}

// Stop stops an item (POST /v1/environments/{environment_id}/work/{work_id}/stop, Stop Work). It returns nil when the server sends
// no content.
func (w *WorkQueue) Stop(ctx context.Context, environmentID, workID string, params WorkStopParams, options ...Option) (*Work, error) {
	return do[Work](ctx, w.client, workStop, callSettings(options, params, environmentID, workID))
}
