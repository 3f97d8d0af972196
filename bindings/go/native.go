package antenv

/*
#include <antenv.h>
#include <stdlib.h>
#include <string.h>

// These functions return structs, because out-parameters in Go's memory would have to be allocated for each call.

typedef struct result { antenv_status status; void *handle; char *error; } result; // as in native_worker.go

static result new_client(const char *config) {
	result it = {0};
	it.status = antenv_client_new(config, (antenv_client **)&it.handle, &it.error);
	return it;
}

static result derive_client(antenv_client *from, const char *config) {
	result it = {0};
	it.status = antenv_client_derive(from, config, (antenv_client **)&it.handle, &it.error);
	return it;
}

static result new_queue(void) {
	result it = {0};
	it.status = antenv_queue_new((antenv_queue **)&it.handle, &it.error);
	return it;
}

static result submit(antenv_client *client, antenv_queue *queue, const char *operation, const char *params, uint64_t tag, int cancellable) {
	result it = {0};
	it.status = antenv_submit(client, queue, operation, params, tag, cancellable ? (antenv_ticket **)&it.handle : NULL, &it.error);
	return it;
}

static result submit_request(antenv_client *client, antenv_queue *queue, const char *method, const char *path, const char *params, uint64_t tag, int cancellable) {
	result it = {0};
	it.status = antenv_submit_request(client, queue, method, path, params, tag, cancellable ? (antenv_ticket **)&it.handle : NULL, &it.error);
	return it;
}

static result submit_download(antenv_client *client, antenv_queue *queue, const char *operation, const char *params, const char *file, uint64_t tag, int cancellable) {
	result it = {0};
	it.status = antenv_download_submit(client, queue, operation, params, file, tag, cancellable ? (antenv_ticket **)&it.handle : NULL, &it.error);
	return it;
}

static result client_stats(antenv_client *client) {
	result it = {0};
	it.status = antenv_client_stats(client, &it.error);
	return it;
}

static result subscribe(antenv_queue *queue, const char *filter) {
	result it = {0};
	it.status = antenv_log_subscribe(queue, filter, 0, &it.error);
	return it;
}

enum { BATCH_SIZE = 64 };

typedef struct { antenv_completion done[BATCH_SIZE]; size_t length[BATCH_SIZE]; size_t count; } batch;

static antenv_status next_batch(antenv_queue *queue, int64_t timeout_ms, batch *into) {
	antenv_status status = antenv_queue_next_many(queue, timeout_ms, into->done, BATCH_SIZE, &into->count);
	for (size_t i = 0; i < into->count; i++) into->length[i] = into->done[i].json ? strlen(into->done[i].json) : 0;
	return status;
}

static void free_strings(batch *of) {
	for (size_t i = 0; i < of->count; i++) antenv_string_free(of->done[i].json);
	of->count = 0;
}

// Waits for a queue's only call.
static result next_one(antenv_queue *queue) {
	result it = {0};
	antenv_completion done = {0};
	do it.status = antenv_queue_next(queue, -1, &done); while (it.status == ANTENV_INTERRUPTED);
	if (it.status == ANTENV_OK) it.status = done.status;
	it.error = done.json;
	return it;
}
*/
import "C"

import (
	"fmt"
	"strings"
	"unsafe"
)

// abiVersion is the ABI version of the library that this package is built for.
const abiVersion = 1

// Handles of the library. They are not pointers to memory.
type (
	clientHandle = *C.antenv_client
	queueHandle  = *C.antenv_queue
	ticketHandle = *C.antenv_ticket
)

// Version returns the version of the native library, such as "0.1.0".
func Version() string { return C.GoString(C.antenv_version()) }

func checkABI() error {
	if found := C.antenv_abi_version(); found != abiVersion {
		return fmt.Errorf("antenv: the library %s has ABI version %d; this package is built for %d", Version(), found, abiVersion)
	}
	return nil
}

func statusName(status Status) string { return C.GoString(C.antenv_status_name(C.int32_t(status))) }

// cString returns a text that ends with a NUL, in Go's memory: C reads it only during the call.
func cString(text []byte) *C.char { return (*C.char)(unsafe.Pointer(unsafe.SliceData(text))) }

// nulTerminated returns a text with a NUL at its end. A text with a NUL inside is rejected, because the library would cut it off there.
func nulTerminated(name, text string) ([]byte, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, &Error{Status: StatusInvalidArgument, Message: "`" + name + "` contains a NUL character", Parameter: name}
	}
	return append([]byte(text), 0), nil
}

// takeString copies a string that the library returned, and frees it.
func takeString(text *C.char) []byte {
	if text == nil {
		return nil
	}
	defer C.antenv_string_free(text)
	return C.GoBytes(unsafe.Pointer(text), C.int(C.strlen(text)))
}

// handleOrError returns a function's handle, or its error.
func handleOrError(it C.result) (unsafe.Pointer, error) {
	if it.status != C.ANTENV_OK {
		return nil, newError(Status(it.status), takeString(it.error))
	}
	return it.handle, nil
}

func newClient(config []byte) (clientHandle, error) {
	handle, err := handleOrError(C.new_client(cString(config)))
	return clientHandle(handle), err
}

func deriveClient(from clientHandle, config []byte) (clientHandle, error) {
	handle, err := handleOrError(C.derive_client(from, cString(config)))
	return clientHandle(handle), err
}

func freeClient(handle clientHandle) { C.antenv_client_free(handle) }

func clientStats(handle clientHandle) ([]byte, error) { return textOrError(C.client_stats(handle)) }

// textOrError returns a function's text, or its error; both are in the same member.
func textOrError(it C.result) ([]byte, error) {
	text := takeString(it.error)
	if it.status != C.ANTENV_OK {
		return nil, newError(Status(it.status), text)
	}
	return text, nil
}

// submission is a call to submit: an operation, with a file one whose response is written there, or with a path a request, whose method
// `operation` then is. All texts end with a NUL.
type submission struct {
	operation, path, file, params []byte
}

func (s submission) submit(client clientHandle, queue queueHandle, tag uint64, cancellable bool) (ticketHandle, error) {
	var want C.int
	if cancellable {
		want = 1
	}
	defer enterNative()()
	var it C.result
	switch {
	case s.file != nil:
		it = C.submit_download(client, queue, cString(s.operation), cString(s.params), cString(s.file), C.uint64_t(tag), want)
	case s.path != nil:
		it = C.submit_request(client, queue, cString(s.operation), cString(s.path), cString(s.params), C.uint64_t(tag), want)
	default:
		it = C.submit(client, queue, cString(s.operation), cString(s.params), C.uint64_t(tag), want)
	}
	ticket, err := handleOrError(it)
	return ticketHandle(ticket), err
}

func cancelTicket(ticket ticketHandle) {
	defer enterNative()()
	C.antenv_ticket_cancel(ticket)
}

func freeTicket(ticket ticketHandle) {
	defer enterNative()()
	C.antenv_ticket_free(ticket)
}

// nativeSlots limits how many goroutines are in the library at once. A goroutine there has a thread to itself, and on a busy machine even a
// short stay takes long: ten thousand goroutines that submit at once would start hundreds of threads, which Go never ends.
var nativeSlots = make(chan struct{}, 4)

// enterNative waits for a slot, and returns the function that gives it back.
func enterNative() func() {
	nativeSlots <- struct{}{}
	return leaveNative
}

func leaveNative() { <-nativeSlots }

func newQueueHandle() (queueHandle, error) {
	handle, err := handleOrError(C.new_queue())
	return queueHandle(handle), err
}

func freeQueue(handle queueHandle)    { C.antenv_queue_free(handle) }
func queueFd(handle queueHandle) int  { return int(C.antenv_queue_fd(handle)) }
func shutdownLibrary(ms int64) Status { return Status(C.antenv_shutdown(C.int64_t(ms))) }
func subscribeLog(queue queueHandle, filter string) error {
	text := append([]byte(filter), 0)
	it := C.subscribe(queue, cString(text))
	_, err := handleOrError(it)
	return err
}

// nextOne waits in the library for a queue's only call, and returns its outcome.
func nextOne(queue queueHandle) (Status, []byte) {
	it := C.next_one(queue)
	return Status(it.status), takeString(it.error)
}

// batch holds completions. It is C's memory, because cgo would search Go's for pointers at each call.
type batch struct{ c *C.batch }

func newBatch() batch {
	b := batch{(*C.batch)(C.malloc(C.sizeof_batch))}
	b.c.count = 0
	return b
}

func (b batch) free() { C.free(unsafe.Pointer(b.c)) }

// next delivers up to 64 completions of a queue. It waits for at most that many milliseconds, without limit if negative. It returns whether
// more completions may wait, and whether the queue is still open.
func (b batch) next(queue queueHandle, timeoutMs int64, deliver func(tag uint64, status Status, json []byte)) (more, alive bool) {
	status := C.next_batch(queue, C.int64_t(timeoutMs), b.c)
	for i := range int(b.c.count) {
		done := &b.c.done[i]
		text := C.GoBytes(unsafe.Pointer(done.json), C.int(b.c.length[i]))
		deliver(uint64(done.tag), Status(done.status), text)
	}
	more = b.c.count == C.BATCH_SIZE
	if b.c.count > 0 {
		C.free_strings(b.c)
	}
	return more, status == C.ANTENV_OK || status == C.ANTENV_TIMEOUT || status == C.ANTENV_INTERRUPTED
}
