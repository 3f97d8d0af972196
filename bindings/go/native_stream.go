package antenv

/*
#include <antenv.h>

typedef struct result { antenv_status status; void *handle; char *error; } result; // as in native.go

static result submit_stream(antenv_client *client, antenv_queue *queue, const char *operation, const char *params) {
	result it = {0};
	it.status = antenv_stream_submit(client, queue, operation, params, 0, (antenv_stream **)&it.handle, &it.error);
	return it;
}
*/
import "C"

type streamHandle = *C.antenv_stream

// submitStream opens a stream whose completions go to a queue. It does not wait for the server.
func submitStream(client clientHandle, queue queueHandle, operation, params []byte) (streamHandle, error) {
	handle, err := handleOrError(C.submit_stream(client, queue, cString(operation), cString(params)))
	return streamHandle(handle), err
}

func freeStream(stream streamHandle) { C.antenv_stream_free(stream) }
