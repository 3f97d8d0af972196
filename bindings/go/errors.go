package antenv

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Status is the kind of an outcome: a status number of the native library. 1 to 99 are its own, 100 and above stand for HTTP statuses.
type Status int32

// The statuses. Later versions may add some: treat an unknown one as a failure.
const (
	StatusOK                 Status = 0   // success
	StatusInvalidArgument    Status = 1   // an argument is invalid; Error.Parameter names it
	StatusInvalidHandle      Status = 2   // the client or worker was closed, or the lease ended
	StatusConfig             Status = 3   // the configuration is invalid, or no credential was found
	StatusConnection         Status = 4   // the server could not be reached, or the connection broke
	StatusTimeout            Status = 5   // the call's timeout ran out
	StatusCancelled          Status = 6   // the call was cancelled
	StatusResponse           Status = 7   // a successful response that is not valid JSON, was cut short, or is too large
	StatusDone               Status = 8   // there is nothing more
	StatusClosed             Status = 9   // the library is being shut down
	StatusLeaseLost          Status = 10  // the lease on a work item is lost
	StatusInternal           Status = 11  // a fault in the library; please report it
	StatusInterrupted        Status = 12  // a signal handler ran; this package never returns it
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
	StatusServerError        Status = 111 // HTTP 500 to 599, except 529
	StatusOverloaded         Status = 112 // HTTP 529
	StatusHTTPStatus         Status = 113 // any other HTTP status that is not a success
)

// String returns the status's name, such as "not_found".
func (s Status) String() string { return statusName(s) }

// Error returns the status's name. It makes a status an error that errors.Is finds in an *Error: see ErrNotFound and its like.
func (s Status) Error() string { return "antenv: " + s.String() }

// Kinds of failure, for errors.Is(err, antenv.ErrNotFound). Every other Status may be used in the same way.
const (
	ErrInvalidArgument    = StatusInvalidArgument
	ErrClosed             = StatusInvalidHandle
	ErrConfig             = StatusConfig
	ErrConnection         = StatusConnection
	ErrTimeout            = StatusTimeout
	ErrCancelled          = StatusCancelled
	ErrDone               = StatusDone      // the worker hands out no more items
	ErrLeaseLost          = StatusLeaseLost // another worker may have the item
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

// Error is any failure that the library reports. Use errors.As to get it, and errors.Is with ErrNotFound and its like for its kind.
type Error struct {
	// Status is the kind of failure.
	Status Status `json:"code"`
	// Message describes the failure in plain words, which may change. It does not repeat the operation, the status or the request id.
	Message string `json:"message"`
	// Operation is the operation that failed, such as "environments.retrieve"; "" when the failure belongs to none.
	Operation string `json:"operation"`
	// HTTPStatus is the HTTP status; 0 when no response came.
	HTTPStatus int `json:"http_status"`
	// Header holds the response's headers; it is empty when no response came.
	Header http.Header `json:"-"`
	// RetryAfter is how long the server asked to wait before another attempt (retry-after-ms or retry-after); 0 when it did not ask.
	RetryAfter time.Duration `json:"-"`
	// Type is the API's kind of error, such as "not_found_error".
	Type string `json:"type"`
	// ErrorCode is the API's code for the cause, such as "environment_not_found".
	ErrorCode string `json:"error_code"`
	// Details is what else the API reports about the cause.
	Details json.RawMessage `json:"details"`
	// RequestID is the server's identifier of the request.
	RequestID string `json:"request_id"`
	// Attempts is how many requests were made, retries included.
	Attempts int `json:"attempts"`
	// Parameter is the rejected argument's name in the native library, such as "timeout_ms"; "" when no argument was rejected.
	Parameter string `json:"parameter"`
	// Body is the server's body: JSON as it came, or a JSON string that holds a body of another kind.
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

// Error returns everything in one line: "antenv: environments.retrieve: 404 not_found: There is no environment "env_1". (req_1)".
// What is not known is left out.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("antenv: ")
	if e.Operation != "" {
		b.WriteString(e.Operation + ": ")
	}
	if e.HTTPStatus != 0 {
		b.WriteString(strconv.Itoa(e.HTTPStatus) + " ")
	}
	b.WriteString(e.Status.String() + ": " + e.Message)
	if e.RequestID != "" {
		b.WriteString(" (" + e.RequestID + ")")
	}
	return b.String()
}

// Is reports whether the error is of a kind: errors.Is(err, antenv.ErrNotFound).
func (e *Error) Is(target error) bool {
	status, ok := target.(Status)
	return ok && status == e.Status
}

// RawJSON returns the whole error object of the native library.
func (e *Error) RawJSON() string { return string(e.raw) }

// newError reads an error object of the native library.
func newError(status Status, text []byte) *Error {
	e := &Error{raw: text}
	object := struct {
		*Error
		Headers      map[string]string `json:"headers"`
		RetryAfterMs int64             `json:"retry_after_ms"`
	}{Error: e}
	if err := json.Unmarshal(text, &object); err != nil || e.Message == "" {
		e.Message = status.String()
	}
	e.Status = status
	e.Header = httpHeader(object.Headers)
	e.RetryAfter = time.Duration(object.RetryAfterMs) * time.Millisecond
	e.nameParameter(goNames[e.Parameter])
	if status == StatusInvalidHandle {
		e.Message = errClientClosed.Message
	}
	return e
}

// httpHeader returns headers as net/http has them.
func httpHeader(headers map[string]string) http.Header {
	header := make(http.Header, len(headers))
	for name, value := range headers {
		header.Set(name, value)
	}
	return header
}

// nameParameter has the message name the rejected parameter as Go does: "`WithTimeout` (timeout_ms) must be ...". The library's name
// stays, because it says which unit the limits have. An empty name changes nothing.
func (e *Error) nameParameter(goName string) {
	if goName != "" {
		e.Message = strings.Replace(e.Message, "`"+e.Parameter+"`", "`"+goName+"` ("+e.Parameter+")", 1)
	}
}
