package antenv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"
)

// EventType is a kind of event of a session. Later versions may add values.
type EventType string

// The kinds of events: those that clients send, those of the agent, those of the session, and those that only streams with EventDeltas have.
const (
	EventUserMessage          EventType = "user.message"
	EventUserInterrupt        EventType = "user.interrupt"
	EventUserToolConfirmation EventType = "user.tool_confirmation"
	EventUserToolResult       EventType = "user.tool_result"
	EventUserCustomToolResult EventType = "user.custom_tool_result"
	EventUserDefineOutcome    EventType = "user.define_outcome"
	EventSystemMessage        EventType = "system.message"

	EventAgentMessage                EventType = "agent.message"
	EventAgentThinking               EventType = "agent.thinking"
	EventAgentToolUse                EventType = "agent.tool_use"
	EventAgentToolResult             EventType = "agent.tool_result"
	EventAgentCustomToolUse          EventType = "agent.custom_tool_use"
	EventAgentMCPToolUse             EventType = "agent.mcp_tool_use"
	EventAgentMCPToolResult          EventType = "agent.mcp_tool_result"
	EventAgentThreadMessageReceived  EventType = "agent.thread_message_received"
	EventAgentThreadMessageSent      EventType = "agent.thread_message_sent"
	EventAgentThreadContextCompacted EventType = "agent.thread_context_compacted"

	EventSessionStatusRunning           EventType = "session.status_running"
	EventSessionStatusIdle              EventType = "session.status_idle"
	EventSessionStatusRescheduled       EventType = "session.status_rescheduled"
	EventSessionStatusTerminated        EventType = "session.status_terminated"
	EventSessionDeleted                 EventType = "session.deleted"
	EventSessionError                   EventType = "session.error"
	EventSessionUpdated                 EventType = "session.updated"
	EventSessionUsage                   EventType = "session.usage"
	EventSessionThreadCreated           EventType = "session.thread_created"
	EventSessionThreadStatusRunning     EventType = "session.thread_status_running"
	EventSessionThreadStatusIdle        EventType = "session.thread_status_idle"
	EventSessionThreadStatusRescheduled EventType = "session.thread_status_rescheduled"
	EventSessionThreadStatusTerminated  EventType = "session.thread_status_terminated"

	EventStart EventType = "event_start"
	EventDelta EventType = "event_delta"
)

// Values of Event.EvaluatedPermission.
const (
	PermissionAllow = "allow" // the call may be run
	PermissionAsk   = "ask"   // the call has to wait for an EventUserToolConfirmation
	PermissionDeny  = "deny"  // the call must not be run; the service has answered it
)

// Event is an event of a session. Type decides which of the other fields are present. An event of a kind that this package does not know
// has the fields that it shares with others; RawJSON returns all of it. A field whose value is not of the expected type is left out.
type Event struct {
	Object[Event]
	// Type is the kind of event.
	Type EventType `json:"type"`
	// ID is the identifier (sevt_...).
	ID string `json:"id"`
	// ProcessedAt is when it took effect; zero for an event that is still queued.
	ProcessedAt time.Time `json:"processed_at,omitzero"`
	// SessionThreadID is the thread that it belongs to; "" for the main one.
	SessionThreadID string `json:"session_thread_id"`
	// Content is the content of a message or a result.
	Content []*ContentBlock `json:"content"`
	// Name is the tool of a call.
	Name string `json:"name"`
	// Input is the input of a call, an object.
	Input json.RawMessage `json:"input"`
	// EvaluatedPermission is whether a call may be run: PermissionAllow, which "" stands for too, PermissionAsk or PermissionDeny. Treat
	// another value like PermissionAsk.
	EvaluatedPermission string `json:"evaluated_permission"`
	// ToolUseID is the call that a result or a confirmation belongs to.
	ToolUseID string `json:"tool_use_id"`
	// CustomToolUseID is the call of a custom tool that a result belongs to.
	CustomToolUseID string `json:"custom_tool_use_id"`
	// IsError is whether a result is a failure.
	IsError Opt[bool] `json:"is_error"`
	// Result is the answer of an EventUserToolConfirmation: "allow" or "deny".
	Result string `json:"result"`
	// DenyMessage is why a call was denied.
	DenyMessage string `json:"deny_message"`
	// StopReason is why a session or a thread is idle.
	StopReason *StopReason `json:"stop_reason"`
	// AgentName is the agent of a thread.
	AgentName string `json:"agent_name"`
	// Error is what went wrong, in an EventSessionError.
	Error *SessionError `json:"error"`
}

var errNotAnEvent = errors.New("antenv: an event is not a JSON object")

// UnmarshalJSON decodes the server's JSON.
func (e *Event) UnmarshalJSON(data []byte) error { return e.decode(bytes.Clone(data)) }

// decode decodes an event and keeps its JSON. A known field with an unexpected value must not end a stream.
func (e *Event) decode(text []byte) error {
	if text = bytes.TrimSpace(text); len(text) == 0 || text[0] != '{' {
		return errNotAnEvent
	}
	e.raw = text
	into := reflect.ValueOf(e).Elem()
	known := fieldsOf(into.Type())
	return eachMember(text, '{', func(name string, value []byte) error {
		if i, ok := known[name]; ok && decodeValue(value, into.Field(i)) != nil {
			into.Field(i).SetZero()
		}
		return nil
	})
}

// Text returns the text of Content: that of its text blocks, one after the other.
func (e *Event) Text() string {
	var text strings.Builder
	for _, block := range e.Content {
		if block != nil {
			text.WriteString(block.Text)
		}
	}
	return text.String()
}

// Format prints the fields, whatever the verb.
func (e Event) Format(to fmt.State, _ rune) { format(to, e) }

// LogValue returns the fields for slog.
func (e Event) LogValue() slog.Value { return logValue(e) }

// ContentBlock is a part of a content. Type decides which of the other fields are present; RawJSON returns all of them.
type ContentBlock struct {
	Object[ContentBlock]
	// Type is "text", "image", "document", "search_result" or another.
	Type string `json:"type"`
	// Text is the text of a text block.
	Text string `json:"text"`
	// Source is where an image or a document is.
	Source json.RawMessage `json:"source"`
	// Title is the title of a document or a search result.
	Title string `json:"title"`
}

// UnmarshalJSON decodes the server's JSON.
func (c *ContentBlock) UnmarshalJSON(data []byte) error {
	type plain ContentBlock
	return decodeKeeping(data, (*plain)(c), &c.Object)
}

// Format prints the fields, whatever the verb.
func (c ContentBlock) Format(to fmt.State, _ rune) { format(to, c) }

// LogValue returns the fields for slog.
func (c ContentBlock) LogValue() slog.Value { return logValue(c) }

// StopReason is why a session is idle.
type StopReason struct {
	Object[StopReason]
	// Type is "end_turn", "requires_action", "retries_exhausted", "budget_reached", "refusal" or another.
	Type string `json:"type"`
	// EventIDs are the calls that wait for a result or a confirmation, with "requires_action".
	EventIDs []string `json:"event_ids"`
}

// UnmarshalJSON decodes the server's JSON.
func (s *StopReason) UnmarshalJSON(data []byte) error {
	type plain StopReason
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s StopReason) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s StopReason) LogValue() slog.Value { return logValue(s) }

// SessionError is what went wrong in a session.
type SessionError struct {
	Object[SessionError]
	// Type is the kind of error.
	Type string `json:"type"`
	// Message describes it.
	Message string `json:"message"`
	// RetryStatus is whether the service tries again.
	RetryStatus RetryStatus `json:"retry_status"`
}

// UnmarshalJSON decodes the server's JSON.
func (s *SessionError) UnmarshalJSON(data []byte) error {
	type plain SessionError
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s SessionError) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s SessionError) LogValue() slog.Value { return logValue(s) }

// RetryStatus is whether the service tries again.
type RetryStatus struct {
	Object[RetryStatus]
	// Type is "retrying", "exhausted" or "terminal".
	Type string `json:"type"`
}

// UnmarshalJSON decodes the server's JSON.
func (r *RetryStatus) UnmarshalJSON(data []byte) error {
	type plain RetryStatus
	return decodeKeeping(data, (*plain)(r), &r.Object)
}

// Format prints the fields, whatever the verb.
func (r RetryStatus) Format(to fmt.State, _ rune) { format(to, r) }

// LogValue returns the fields for slog.
func (r RetryStatus) LogValue() slog.Value { return logValue(r) }

// SentEvents are the events that a session has accepted.
type SentEvents struct {
	Object[SentEvents]
	// Data are the events, with their identifiers, in the order in which they were sent.
	Data []*Event `json:"data"`
}

// UnmarshalJSON decodes the server's JSON.
func (s *SentEvents) UnmarshalJSON(data []byte) error {
	type plain SentEvents
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s SentEvents) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s SentEvents) LogValue() slog.Value { return logValue(s) }
