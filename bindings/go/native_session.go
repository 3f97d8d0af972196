package antenv

/*
#include <antenv.h>

typedef struct result { antenv_status status; void *handle; char *error; } result; // as in native.go

static result new_session(antenv_lease *lease, const char *config) {
	result it = {0};
	it.status = antenv_session_new(lease, config, (antenv_session **)&it.handle, &it.error);
	return it;
}

static result next_tool_call(antenv_session *session) {
	result it = {0};
	it.status = antenv_session_next(session, 0, (antenv_tool_call **)&it.handle, &it.error);
	return it;
}

static result session_stats(antenv_session *session) {
	result it = {0};
	it.status = antenv_session_stats(session, &it.error);
	return it;
}

static result submit_reply(antenv_tool_call *call, const char *json, antenv_queue *queue, uint64_t tag) {
	result it = {0};
	it.status = antenv_tool_call_submit_reply(call, json, queue, tag, &it.error);
	return it;
}
*/
import "C"

type (
	sessionHandle  = *C.antenv_session
	toolCallHandle = *C.antenv_tool_call
)

func newSession(lease leaseHandle, config []byte) (sessionHandle, error) {
	defer enterNative()()
	handle, err := handleOrError(C.new_session(lease, cString(config)))
	return sessionHandle(handle), err
}

func attachSession(session sessionHandle, queue queueHandle, tag uint64) error {
	defer enterNative()()
	return statusError(C.antenv_session_attach(session, queue, C.uint64_t(tag)))
}

// nextToolCall takes a call that is ready, with its event; with StatusDone the text says why the session is over. It does not block.
func nextToolCall(session sessionHandle) (toolCallHandle, Status, []byte) {
	defer enterNative()()
	it := C.next_tool_call(session)
	return toolCallHandle(it.handle), Status(it.status), takeString(it.error)
}

func sessionStats(session sessionHandle) ([]byte, error) {
	defer enterNative()()
	return textOrError(C.session_stats(session))
}

func freeSession(session sessionHandle) {
	defer enterNative()()
	C.antenv_session_free(session)
}

// attachToolCall reports through a queue when a call needs no reply any more, and why. One completion arrives.
func attachToolCall(call toolCallHandle, queue queueHandle, tag uint64) error {
	defer enterNative()()
	return statusError(C.antenv_tool_call_attach(call, queue, C.uint64_t(tag)))
}

// submitReply replies to a call, which it frees unless it fails. It does not wait for the server.
func submitReply(call toolCallHandle, result []byte, queue queueHandle, tag uint64) error {
	defer enterNative()()
	_, err := handleOrError(C.submit_reply(call, cString(result), queue, C.uint64_t(tag)))
	return err
}

func freeToolCall(call toolCallHandle) {
	defer enterNative()()
	C.antenv_tool_call_free(call)
}
