package antenv

import (
	"encoding/json"
	"errors"
)

// Status is the kind of an outcome: the status numbers of the native library. 1 to 99 are its own, 100 and above the server's answer.
type Status int32

// The statuses. Later versions may add some: treat one that you do not know as a failure.
const (
	StatusOK                 Status = 0   // it worked
	StatusInvalidArgument    Status = 1   // an argument is not acceptable; Error.Parameter names it
	StatusInvalidHandle      Status = 2   // the client or worker was closed, or the lease ended
	StatusConfig             Status = 3   // the configuration is not acceptable, or no credential was found
	StatusConnection         Status = 4   // no connection, or it broke
	StatusTimeout            Status = 5   // the call's timeout ran out
	StatusCancelled          Status = 6   // the call was cancelled
	StatusResponse           Status = 7   // a success that is not valid JSON, was cut short, or is too large
	StatusDone               Status = 8   // there is nothing more
	StatusClosed             Status = 9   // the library is being shut down
	StatusLeaseLost          Status = 10  // the lease on a work item is lost
	StatusInternal           Status = 11  // a fault in the library
	StatusInterrupted        Status = 12  // a signal handler ran; never seen outside this package
	StatusBadRequest         Status = 100 // HTTP 400
	StatusAuthentication     Status = 101 // HTTP 401
	StatusPaymentRequired    Status = 102 // HTTP 402
	StatusPermissionDenied   Status = 103 // HTTP 403
	StatusNotFound           Status = 104 // HTTP 404
	StatusRequestTimeout     Status = 105 // HTTP 408
	StatusConflict           Status = 106 // HTTP 409
	StatusPreconditionFailed Status = 107 // HTTP 412
	StatusContentTooLarge    Status = 108 // HTTP 413
	StatusUnprocessable      Status = 109 // HTTP 422
	StatusRateLimited        Status = 110 // HTTP 429
	StatusServerError        Status = 111 // HTTP 500 to 599 but 529
	StatusOverloaded         Status = 112 // HTTP 529
	StatusHTTPStatus         Status = 113 // any other HTTP status that is not a success
)

// String returns the status's name, such as "not_found".
func (s Status) String() string { return statusName(s) }

// Error makes a status an error that errors.Is finds in an *Error: see ErrNotFound and its like.
func (s Status) Error() string { return "antenv: " + s.String() }

// Kinds of failure, for errors.Is(err, antenv.ErrNotFound). Every other Status may be used in the same way.
const (
	ErrInvalidArgument    = StatusInvalidArgument
	ErrClosed             = StatusInvalidHandle
	ErrConfig             = StatusConfig
	ErrConnection         = StatusConnection
	ErrTimeout            = StatusTimeout
	ErrCancelled          = StatusCancelled
	ErrDone               = StatusDone      // nothing more is to come from a worker
	ErrLeaseLost          = StatusLeaseLost // somebody else may have the item
	ErrResponse           = StatusResponse
	ErrBadRequest         = StatusBadRequest
	ErrAuthentication     = StatusAuthentication
	ErrPaymentRequired    = StatusPaymentRequired
	ErrPermissionDenied   = StatusPermissionDenied
	ErrNotFound           = StatusNotFound
	ErrRequestTimeout     = StatusRequestTimeout
	ErrConflict           = StatusConflict
	ErrPreconditionFailed = StatusPreconditionFailed
	ErrContentTooLarge    = StatusContentTooLarge
	ErrUnprocessable      = StatusUnprocessable
	ErrRateLimited        = StatusRateLimited
	ErrServer             = StatusServerError
	ErrOverloaded         = StatusOverloaded
)

// Error is any failure that the library reports. Use errors.As to get it, and errors.Is with ErrNotFound and its like to tell kinds.
type Error struct {
	// Status is the kind of failure.
	Status Status `json:"code"`
	// Message says what happened, in words, which may change.
	Message string `json:"message"`
	// HTTPStatus is the HTTP status; 0 when there was no answer.
	HTTPStatus int `json:"http_status"`
	// Type is the API's kind of error, such as "not_found_error".
	Type string `json:"type"`
	// ErrorCode is the API's code for the cause, such as "environment_not_found".
	ErrorCode string `json:"error_code"`
	// Details is what else the API says about the cause.
	Details json.RawMessage `json:"details"`
	// RequestID is the server's identifier of the request.
	RequestID string `json:"request_id"`
	// Attempts is how many requests were made, retries included.
	Attempts int `json:"attempts"`
	// Parameter names the argument that was refused.
	Parameter string `json:"parameter"`
	// Body is the server's body: JSON, a JSON string when it was none.
	Body json.RawMessage `json:"body"`

	raw []byte
}

var errClientClosed = &Error{Status: StatusInvalidHandle, Message: "the client was closed"}

// replaceInvalidHandle returns another error in place of one that says that a handle is not valid.
func replaceInvalidHandle(err error, replacement *Error) error {
	if errors.Is(err, StatusInvalidHandle) {
		return replacement
	}
	return err
}

// Error returns the message.
func (e *Error) Error() string { return "antenv: " + e.Message }

// Is tells whether the error is of a kind: errors.Is(err, antenv.ErrNotFound).
func (e *Error) Is(target error) bool {
	status, ok := target.(Status)
	return ok && status == e.Status
}

// RawJSON returns the whole error object of the native library.
func (e *Error) RawJSON() string { return string(e.raw) }

func newError(status Status, text []byte) error {
	e := &Error{raw: text}
	if err := json.Unmarshal(text, e); err != nil || e.Message == "" {
		e.Message = status.String()
	}
	e.Status = status
	if status == StatusInvalidHandle {
		e.Message = errClientClosed.Message
	}
	return e
}
