package antenv

/*
#include <antenv.h>

typedef struct result { antenv_status status; void *handle; char *error; } result; // as in native.go

static result new_worker(antenv_client *client, const char *config) {
	result it = {0};
	it.status = antenv_worker_new(client, config, (antenv_worker **)&it.handle, &it.error);
	return it;
}

static result next_lease(antenv_worker *worker) {
	result it = {0};
	it.status = antenv_worker_next(worker, 0, (antenv_lease **)&it.handle, &it.error);
	return it;
}

static result worker_stats(antenv_worker *worker) {
	result it = {0};
	it.status = antenv_worker_stats(worker, &it.error);
	return it;
}

static result worker_metrics(antenv_worker *worker) {
	result it = {0};
	it.status = antenv_worker_metrics(worker, &it.error);
	return it;
}

static result lease_state(antenv_lease *lease) {
	result it = {0};
	it.status = antenv_lease_state(lease, &it.error);
	return it;
}

static result adopt_lease(antenv_client *client, const char *config) {
	result it = {0};
	it.status = antenv_lease_adopt(client, config, (antenv_lease **)&it.handle, &it.error);
	return it;
}

static result release_lease(antenv_lease *lease) {
	result it = {0};
	it.status = antenv_lease_release(lease, &it.error);
	return it;
}

static result lease_client(antenv_lease *lease) {
	result it = {0};
	it.status = antenv_lease_client(lease, (antenv_client **)&it.handle, &it.error);
	return it;
}

static result submit_finish(antenv_lease *lease, const char *params, antenv_queue *queue, uint64_t tag) {
	result it = {0};
	it.status = antenv_lease_submit_finish(lease, params, queue, tag, &it.error);
	return it;
}
*/
import "C"

type (
	workerHandle = *C.antenv_worker
	leaseHandle  = *C.antenv_lease
)

// statusError returns the error of a function that returns only a status; nil on success.
func statusError(status C.antenv_status) error {
	if status == C.ANTENV_OK {
		return nil
	}
	return newError(Status(status), nil)
}

func newWorkerHandle(client clientHandle, config []byte) (workerHandle, error) {
	handle, err := handleOrError(C.new_worker(client, cString(config)))
	return workerHandle(handle), err
}

// nextLease takes an item that is ready: its lease and its JSON. It does not block.
func nextLease(worker workerHandle) (leaseHandle, []byte, error) {
	it := C.next_lease(worker)
	text, err := textOrError(it)
	return leaseHandle(it.handle), text, err
}

func attachWorker(worker workerHandle, queue queueHandle, tag uint64) error {
	return statusError(C.antenv_worker_attach(worker, queue, C.uint64_t(tag)))
}

func stopWorker(worker workerHandle)                    { C.antenv_worker_stop(worker) }
func freeWorker(worker workerHandle)                    { C.antenv_worker_free(worker) }
func workerStats(worker workerHandle) ([]byte, error)   { return textOrError(C.worker_stats(worker)) }
func workerMetrics(worker workerHandle) ([]byte, error) { return textOrError(C.worker_metrics(worker)) }
func leaseStateJSON(lease leaseHandle) ([]byte, error)  { return textOrError(C.lease_state(lease)) }
func abandonLease(lease leaseHandle)                    { C.antenv_lease_abandon(lease) }

// adoptLease adopts a lease: it returns the handle, and what is known of the item. It blocks.
func adoptLease(client clientHandle, config []byte) (leaseHandle, []byte, error) {
	it := C.adopt_lease(client, cString(config))
	text, err := textOrError(it)
	return leaseHandle(it.handle), text, err
}

// releaseLease releases a lease: it returns what the next holder must know. It may block.
func releaseLease(lease leaseHandle) ([]byte, error) { return textOrError(C.release_lease(lease)) }

func leaseClientHandle(lease leaseHandle) (clientHandle, error) {
	handle, err := handleOrError(C.lease_client(lease))
	return clientHandle(handle), err
}

func attachLease(lease leaseHandle, queue queueHandle, tag uint64) error {
	return statusError(C.antenv_lease_attach(lease, queue, C.uint64_t(tag)))
}

func submitFinish(lease leaseHandle, params []byte, queue queueHandle, tag uint64) error {
	_, err := handleOrError(C.submit_finish(lease, cString(params), queue, C.uint64_t(tag)))
	return err
}
