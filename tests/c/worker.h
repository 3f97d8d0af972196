/* What the tests of workers share: an environment, its items, leases, and threads that wait for items. */
#ifndef WORKER_H
#define WORKER_H

#include "process.h"

enum { THREADS = 8, WORKER_TAG = 1, LEASE_TAG = 2, FINISH_TAG = 3, LOST_TAG = 4, ID = 64 };

static const char *url, *environment, *key;
/* Has the API key, and does what happens behind the workers' backs. */
static antenv_client *owner;
static char *json;

static inline antenv_worker *new_worker(const char *more) {
    char config[512];
    antenv_worker *worker = NULL;
    snprintf(config, sizeof config, "{\"environment_id\":\"%s\",\"environment_key\":\"%s\"%s}", environment, key, more);
    EXPECT(antenv_worker_new(owner, config, &worker, &json), ANTENV_OK, NULL);
    CHECK(worker != NULL);
    return worker;
}

static inline void free_worker(antenv_worker *worker) {
    CHECK(antenv_worker_free(worker) == ANTENV_OK);
    CHECK(antenv_worker_free(worker) == ANTENV_INVALID_HANDLE);
}

/* Reads the identifier of the first item in a JSON text. */
static inline void read_id(const char *text, char *id) {
    const char *found = strstr(text, ":\"work_");
    CHECK(found != NULL && sscanf(found + 2, "%63[^\"]", id) == 1);
}

static inline void control(const char *path, const char *more) {
    char params[256];
    snprintf(params, sizeof params, "{\"body\":{\"environment_id\":\"%s\"%s}}", environment, more);
    CHECK(antenv_request(owner, "POST", path, params, &json) == ANTENV_OK);
}

static inline void enqueue(char *id) {
    control("/_emulator/work", "");
    read_id(json, id);
    antenv_string_free(json);
    json = NULL;
}

static inline int is_item(const char *id, const char *state) {
    char wanted[64];
    CHECK(antenv_work_retrieve(owner, environment, id, NULL, &json) == ANTENV_OK);
    snprintf(wanted, sizeof wanted, "\"state\":\"%s\"", state);
    int is = strstr(json, wanted) != NULL;
    antenv_string_free(json);
    json = NULL;
    return is;
}

static inline antenv_lease *take(antenv_worker *worker, const char *id) {
    antenv_lease *lease = NULL;
    EXPECT(antenv_worker_next(worker, WAIT_MS, &lease, &json), ANTENV_OK, id);
    CHECK(lease != NULL);
    return lease;
}

/* How many of the lease's heartbeats were successful. It must be held. */
static inline int beats(antenv_lease *lease) {
    char *count;
    CHECK(antenv_lease_state(lease, &json) == ANTENV_OK && strstr(json, "\"state\":\"held\""));
    CHECK(antenv_json_get(json, "/beats", &count) == ANTENV_OK);
    int number = atoi(count);
    antenv_string_free(count);
    antenv_string_free(json);
    json = NULL;
    return number;
}

/* Waits for the lease's next heartbeat: it is still kept. */
static inline void is_kept(antenv_lease *lease) {
    int before = beats(lease);
    UNTIL(beats(lease) > before);
    EXPECT(antenv_lease_wait(lease, 0, &json), ANTENV_TIMEOUT, "timeout");
}

static inline void finish(antenv_lease *lease, const char *id) {
    EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_OK, id);
    CHECK(is_item(id, "stopped"));
}

/* A thread that waits in antenv_worker_next, and what it got. */
struct waiter {
    pthread_t thread;
    antenv_worker *worker;
    atomic_long tid;
    antenv_status status;
};

static inline void *wait_for_an_item(void *argument) {
    struct waiter *waiter = argument;
    antenv_lease *lease = (antenv_lease *)waiter;
    char *mine = NULL;
    waiter->tid = syscall(SYS_gettid);
    waiter->status = antenv_worker_next(waiter->worker, -1, &lease, &mine);
    CHECK(lease == NULL && (mine == NULL || waiter->status == ANTENV_CLOSED));
    antenv_string_free(mine);
    return NULL;
}

static inline void begin_waiting(struct waiter *waiters, int count, antenv_worker *worker) {
    for (int i = 0; i < count; i++) {
        waiters[i] = (struct waiter){.worker = worker};
        CHECK(pthread_create(&waiters[i].thread, NULL, wait_for_an_item, &waiters[i]) == 0);
    }
    for (int i = 0; i < count; i++) UNTIL(waiters[i].tid && sleeps_in_poll(waiters[i].tid));
}

static inline void end_waiting(struct waiter *waiters, int count, antenv_status expected) {
    for (int i = 0; i < count; i++) {
        CHECK(pthread_join(waiters[i].thread, NULL) == 0);
        CHECK(waiters[i].status == expected);
    }
}

static inline antenv_completion next_completion(antenv_queue *queue) {
    antenv_completion done;
    struct pollfd watched = {.fd = antenv_queue_fd(queue), .events = POLLIN};
    CHECK(poll(&watched, 1, WAIT_MS) == 1 && watched.revents == POLLIN);
    CHECK(antenv_queue_next(queue, 0, &done) == ANTENV_OK && done.json != NULL);
    return done;
}

/* Reads the arguments of a program: the server's URL, what to try, an environment, its key. Makes the owner's client. */
static inline void begin(int argc, char **argv) {
    CHECK(argc == 5);
    title = argv[2], url = argv[1], environment = argv[3], key = argv[4];
    bound();
    owner = connect_to(url, "");
}

static inline int end(void) {
    CHECK(antenv_client_free(owner) == ANTENV_OK);
    printf("worker %s: as it should be\n", title);
    return 0;
}

#endif
