/*
 * Serves work: threads, event loops, leases that end in every way.
 *
 * argv[1]: the server's URL; argv[2]: what to try; argv[3]: an environment; argv[4]: its key.
 */
#define _GNU_SOURCE
#include "process.h"

enum { THREADS = 8, WORKER_TAG = 1, LEASE_TAG = 2, FINISH_TAG = 3, LOST_TAG = 4, ID = 64 };

static const char *url, *environment, *key;
/* Has the API key, and does what happens behind the workers' backs. */
static antenv_client *owner;
static char *json;

static antenv_worker *new_worker(const char *more) {
    char config[512];
    antenv_worker *worker = NULL;
    snprintf(config, sizeof config, "{\"environment_id\":\"%s\",\"environment_key\":\"%s\"%s}", environment, key, more);
    EXPECT(antenv_worker_new(owner, config, &worker, &json), ANTENV_OK, NULL);
    CHECK(worker != NULL);
    return worker;
}

static void free_worker(antenv_worker *worker) {
    CHECK(antenv_worker_free(worker) == ANTENV_OK);
    CHECK(antenv_worker_free(worker) == ANTENV_INVALID_HANDLE);
}

/* Reads the identifier of the first item in a JSON text. */
static void read_id(const char *text, char *id) {
    const char *found = strstr(text, ":\"work_");
    CHECK(found != NULL && sscanf(found + 2, "%63[^\"]", id) == 1);
}

static void control(const char *path, const char *more) {
    char params[256];
    snprintf(params, sizeof params, "{\"body\":{\"environment_id\":\"%s\"%s}}", environment, more);
    CHECK(antenv_request(owner, "POST", path, params, &json) == ANTENV_OK);
}

static void enqueue(char *id) {
    control("/_emulator/work", "");
    read_id(json, id);
    antenv_string_free(json);
    json = NULL;
}

static int is_item(const char *id, const char *state) {
    char wanted[64];
    CHECK(antenv_work_retrieve(owner, environment, id, NULL, &json) == ANTENV_OK);
    snprintf(wanted, sizeof wanted, "\"state\":\"%s\"", state);
    int is = strstr(json, wanted) != NULL;
    antenv_string_free(json);
    json = NULL;
    return is;
}

static antenv_lease *take(antenv_worker *worker, const char *id) {
    antenv_lease *lease = NULL;
    EXPECT(antenv_worker_next(worker, WAIT_MS, &lease, &json), ANTENV_OK, id);
    CHECK(lease != NULL);
    return lease;
}

/* How many of the lease's heartbeats were successful. It must be held. */
static int beats(antenv_lease *lease) {
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
static void is_kept(antenv_lease *lease) {
    int before = beats(lease);
    UNTIL(beats(lease) > before);
    EXPECT(antenv_lease_wait(lease, 0, &json), ANTENV_TIMEOUT, "timeout");
}

static void finish(antenv_lease *lease, const char *id) {
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

static void *wait_for_an_item(void *argument) {
    struct waiter *waiter = argument;
    antenv_lease *lease = (antenv_lease *)waiter;
    char *mine = NULL;
    waiter->tid = syscall(SYS_gettid);
    waiter->status = antenv_worker_next(waiter->worker, -1, &lease, &mine);
    CHECK(lease == NULL && (mine == NULL || waiter->status == ANTENV_CLOSED));
    antenv_string_free(mine);
    return NULL;
}

static void begin_waiting(struct waiter *waiters, int count, antenv_worker *worker) {
    for (int i = 0; i < count; i++) {
        waiters[i] = (struct waiter){.worker = worker};
        CHECK(pthread_create(&waiters[i].thread, NULL, wait_for_an_item, &waiters[i]) == 0);
    }
    for (int i = 0; i < count; i++) UNTIL(waiters[i].tid && sleeps_in_poll(waiters[i].tid));
}

static void end_waiting(struct waiter *waiters, int count, antenv_status expected) {
    for (int i = 0; i < count; i++) {
        CHECK(pthread_join(waiters[i].thread, NULL) == 0);
        CHECK(waiters[i].status == expected);
    }
}

/* ---- What every worker does ---- */

static void nothing_comes_before_its_time(void) {
    antenv_worker *worker = new_worker("");
    antenv_lease *lease = (antenv_lease *)worker;
    char id[ID];
    EXPECT(antenv_worker_next(worker, 0, &lease, &json), ANTENV_TIMEOUT, NULL);
    CHECK(lease == NULL);
    double begun = now_ms();
    EXPECT(antenv_worker_next(worker, 30, &lease, &json), ANTENV_TIMEOUT, NULL);
    CHECK(now_ms() - begun >= 30);
    EXPECT(antenv_worker_next(worker, -2, &lease, &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"timeout_ms\"");
    enqueue(id);
    /* Asking without waiting is asking too: for a second, the worker takes it that an item is wanted. */
    antenv_status status;
    double until = now_ms() + WAIT_MS;
    do status = antenv_worker_next(worker, 0, &lease, &json);
    while (status == ANTENV_TIMEOUT && now_ms() < until && usleep(10000) == 0);
    EXPECT(status, ANTENV_OK, id);
    EXPECT(antenv_worker_next(worker, 0, &(antenv_lease *){NULL}, &json), ANTENV_TIMEOUT, NULL); /* it holds one at a time */
    finish(lease, id);

    /* What cannot be handed out is not taken. */
    enqueue(id);
    lease = (antenv_lease *)worker;
    CHECK(antenv_worker_next(worker, WAIT_MS, &lease, NULL) == ANTENV_INVALID_ARGUMENT && lease == NULL);
    EXPECT(antenv_worker_next(worker, WAIT_MS, NULL, &json), ANTENV_INVALID_ARGUMENT, "`out_lease` is NULL");
    CHECK(antenv_worker_next(worker, WAIT_MS, NULL, NULL) == ANTENV_INVALID_ARGUMENT);
    lease = take(worker, id);
    EXPECT(antenv_worker_stats(worker, &json), ANTENV_OK, "\"claimed\":2");
    finish(lease, id);
    free_worker(worker);
}

static void ignore(int number) {
    (void)number;
}

static void a_signal_ends_the_wait_and_nothing_is_lost(void) {
    antenv_worker *worker = new_worker("");
    struct sigaction action = {.sa_handler = ignore};
    struct waiter waiter;
    char id[ID];
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    begin_waiting(&waiter, 1, worker);
    CHECK(pthread_kill(waiter.thread, SIGUSR1) == 0);
    end_waiting(&waiter, 1, ANTENV_INTERRUPTED);
    enqueue(id);
    finish(take(worker, id), id);
    free_worker(worker);
}

/* What the threads of a crew have in common. */
static struct {
    antenv_worker *worker;
    pthread_mutex_t lock;
    char served[256][ID];
    int count;
} crew = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *serve_to_the_end(void *unused) {
    antenv_lease *lease;
    antenv_status status;
    char *mine = NULL, id[ID];
    while ((status = antenv_worker_next(crew.worker, -1, &lease, &mine)) == ANTENV_OK) {
        read_id(mine, id);
        antenv_string_free(mine);
        CHECK(antenv_lease_state(lease, &mine) == ANTENV_OK && strstr(mine, "\"held\"") && strstr(mine, id));
        antenv_string_free(mine);
        CHECK(antenv_lease_finish(lease, NULL, &mine) == ANTENV_OK && strstr(mine, id));
        antenv_string_free(mine);
        pthread_mutex_lock(&crew.lock);
        CHECK(crew.count < 256);
        for (int i = 0; i < crew.count; i++) CHECK(strcmp(crew.served[i], id) != 0);
        memcpy(crew.served[crew.count++], id, ID);
        pthread_mutex_unlock(&crew.lock);
    }
    CHECK(status == ANTENV_DONE && mine == NULL && lease == NULL);
    return unused;
}

/* A crew of threads serves what there is. */
static void serve_all(int threads, int items, const char *config) {
    pthread_t thread[16];
    crew.worker = new_worker(config);
    crew.count = 0;
    for (int i = 0; i < threads; i++) CHECK(pthread_create(&thread[i], NULL, serve_to_the_end, NULL) == 0);
    int is_drained = strstr(config, "drain") != NULL, served;
    UNTIL((pthread_mutex_lock(&crew.lock), served = crew.count, pthread_mutex_unlock(&crew.lock), served) == items);
    if (!is_drained) CHECK(antenv_worker_stop(crew.worker) == ANTENV_OK && antenv_worker_stop(crew.worker) == ANTENV_OK);
    for (int i = 0; i < threads; i++) CHECK(pthread_join(thread[i], NULL) == 0);
    antenv_lease *lease = NULL;
    EXPECT(antenv_worker_next(crew.worker, -1, &lease, &json), ANTENV_DONE, NULL);
    EXPECT(antenv_worker_stats(crew.worker, &json), ANTENV_OK, is_drained ? "\"drained\"" : "\"stopped\"");
    EXPECT(antenv_worker_metrics(crew.worker, &json), ANTENV_OK, "antenv_worker_finished_total");
    free_worker(crew.worker);
}

static void each_item_goes_to_one_of_many_threads(void) {
    char id[ID];
    for (int i = 0; i < 24; i++) enqueue(id);
    serve_all(THREADS, 24, ",\"concurrency\":8");
}

/* ---- An event loop ---- */

static antenv_completion next_completion(antenv_queue *queue) {
    antenv_completion done;
    struct pollfd watched = {.fd = antenv_queue_fd(queue), .events = POLLIN};
    CHECK(poll(&watched, 1, WAIT_MS) == 1 && watched.revents == POLLIN);
    CHECK(antenv_queue_next(queue, 0, &done) == ANTENV_OK && done.json != NULL);
    return done;
}

static void an_event_loop_needs_no_thread(void) {
    enum { ITEMS = 6 };
    antenv_worker *worker = new_worker(",\"concurrency\":2");
    antenv_queue *queue = new_queue();
    antenv_lease *lease = NULL;
    char id[ITEMS][ID], came[ID];
    int claimed = 0, reported = 0, finished = 0, is_done = 0;
    CHECK(antenv_worker_attach(worker, queue, WORKER_TAG) == ANTENV_OK);
    CHECK(antenv_queue_next(queue, 0, &(antenv_completion){0}) == ANTENV_TIMEOUT);
    for (int i = 0; i < ITEMS; i++) enqueue(id[i]);
    while (!is_done || reported < ITEMS || finished < ITEMS) {
        antenv_completion done = next_completion(queue);
        if (done.tag == WORKER_TAG && done.status == ANTENV_OK) {
            read_id(done.json, came);
            EXPECT(antenv_worker_next(worker, 0, &lease, &json), ANTENV_OK, came);
            CHECK(++claimed <= finished + 2);
            CHECK(antenv_lease_attach(lease, queue, LEASE_TAG) == ANTENV_OK);
            EXPECT(antenv_lease_submit_finish(lease, claimed % 2 ? "{\"force\":true}" : NULL, queue, FINISH_TAG, &json), ANTENV_OK, NULL);
            EXPECT(antenv_lease_submit_finish(lease, NULL, queue, FINISH_TAG, &json), ANTENV_INVALID_HANDLE, "lease");
        } else if (done.tag == WORKER_TAG) {
            CHECK(done.status == ANTENV_DONE && !is_done++);
        } else if (done.tag == LEASE_TAG) {
            CHECK(done.status == ANTENV_DONE && ++reported <= ITEMS);
        } else {
            CHECK(done.tag == FINISH_TAG && done.status == ANTENV_OK);
            if (++finished == ITEMS) CHECK(antenv_worker_stop(worker) == ANTENV_OK);
        }
        antenv_string_free(done.json);
    }
    CHECK(!is_readable(antenv_queue_fd(queue)));
    for (int i = 0; i < ITEMS; i++) CHECK(is_item(id[i], "stopped"));
    free_worker(worker);

    /* When its queue goes, a worker is asked again. */
    worker = new_worker("");
    CHECK(antenv_worker_attach(worker, queue, WORKER_TAG) == ANTENV_OK);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    CHECK(antenv_worker_attach(worker, queue, WORKER_TAG) == ANTENV_INVALID_HANDLE);
    enqueue(id[0]);
    lease = take(worker, id[0]);
    CHECK(antenv_lease_attach(lease, queue, LEASE_TAG) == ANTENV_INVALID_HANDLE);
    EXPECT(antenv_lease_submit_finish(lease, NULL, queue, FINISH_TAG, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"queue\"");
    /* Another takes its place at once, though the library may find only now that the first is gone. */
    queue = new_queue();
    CHECK(antenv_worker_attach(worker, queue, 7) == ANTENV_OK && antenv_lease_attach(lease, queue, 8) == ANTENV_OK);
    finish(lease, id[0]);
    antenv_completion done = next_completion(queue);
    CHECK(done.tag == 8 && done.status == ANTENV_DONE);
    antenv_string_free(done.json);
    enqueue(id[0]);
    done = next_completion(queue);
    CHECK(done.tag == 7 && strstr(done.json, id[0]));
    antenv_string_free(done.json);
    finish(take(worker, id[0]), id[0]);
    free_worker(worker);
    done = next_completion(queue);
    CHECK(done.tag == 7 && done.status == ANTENV_DONE);
    antenv_string_free(done.json);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

/* ---- How a lease ends ---- */

static void a_lease_ends_once(void) {
    antenv_worker *worker = new_worker("");
    antenv_queue *queue = new_queue();
    antenv_client *own = NULL;
    char id[ID];
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    EXPECT(antenv_lease_wait(lease, 0, &json), ANTENV_TIMEOUT, "\"timeout\"");
    EXPECT(antenv_lease_wait(lease, 20, &json), ANTENV_TIMEOUT, "\"timeout\"");
    EXPECT(antenv_lease_wait(lease, -2, &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"timeout_ms\"");
    EXPECT(antenv_lease_wait_lost(lease, 0, &json), ANTENV_TIMEOUT, "\"timeout\"");
    EXPECT(antenv_lease_wait_lost(lease, -2, &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"timeout_ms\"");
    EXPECT(antenv_lease_client(lease, &own, &json), ANTENV_OK, NULL);
    CHECK(antenv_lease_client(lease, NULL, NULL) == ANTENV_INVALID_ARGUMENT);

    /* What is refused leaves it as it is. */
    EXPECT(antenv_lease_finish(lease, "[]", &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"params_json\"");
    EXPECT(antenv_lease_finish(lease, "{\"force\":3}", &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"force\"");
    EXPECT(antenv_lease_finish(lease, "{\"forced\":true}", &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"forced\"");
    EXPECT(antenv_lease_finish(lease, "{\"timeout_ms\":0}", &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"timeout_ms\"");
    EXPECT(antenv_lease_finish(lease, "{\"force\":\"\xff\"}", &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"params_json\"");
    EXPECT(antenv_lease_submit_finish(lease, "{", queue, FINISH_TAG, &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"params_json\"");
    CHECK(antenv_lease_submit_finish(lease, "{", queue, FINISH_TAG, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_lease_finish(lease, NULL, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_lease_state(lease, NULL) == ANTENV_INVALID_ARGUMENT && antenv_lease_wait(lease, 0, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_lease_wait_lost(lease, 0, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_lease_attach_lost(lease, NULL, LOST_TAG) == ANTENV_INVALID_HANDLE);
    CHECK(!is_readable(antenv_queue_fd(queue)));
    EXPECT(antenv_lease_state(lease, &json), ANTENV_OK, "\"state\":\"held\"");
    CHECK(is_item(id, "active"));

    finish(lease, id);
    EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"lease\"");
    EXPECT(antenv_lease_submit_finish(lease, NULL, queue, FINISH_TAG, &json), ANTENV_INVALID_HANDLE, "lease");
    EXPECT(antenv_lease_state(lease, &json), ANTENV_INVALID_HANDLE, "lease");
    EXPECT(antenv_lease_wait(lease, -1, &json), ANTENV_INVALID_HANDLE, "lease");
    EXPECT(antenv_lease_wait_lost(lease, -1, &json), ANTENV_INVALID_HANDLE, "lease");
    CHECK(antenv_lease_attach_lost(lease, queue, LEASE_TAG) == ANTENV_INVALID_HANDLE);
    CHECK(antenv_lease_attach(lease, queue, LEASE_TAG) == ANTENV_INVALID_HANDLE && antenv_lease_abandon(lease) == ANTENV_INVALID_HANDLE);
    antenv_client *none = own;
    EXPECT(antenv_lease_client(lease, &none, &json), ANTENV_INVALID_HANDLE, "lease");
    CHECK(none == NULL);
    EXPECT(antenv_client_stats(own, &json), ANTENV_OK, "in_flight"); /* outlives its lease */
    CHECK(antenv_client_free(own) == ANTENV_OK);

    enqueue(id);
    lease = take(worker, id);
    CHECK(antenv_lease_attach(lease, queue, LEASE_TAG) == ANTENV_OK);
    CHECK(antenv_lease_attach_lost(lease, queue, LOST_TAG) == ANTENV_OK);
    CHECK(antenv_lease_abandon(lease) == ANTENV_OK && antenv_lease_abandon(lease) == ANTENV_INVALID_HANDLE);
    for (uint64_t tag = LEASE_TAG; tag <= LOST_TAG; tag += LOST_TAG - LEASE_TAG) {
        antenv_completion done = next_completion(queue);
        CHECK(done.tag == tag && done.status == ANTENV_DONE);
        antenv_string_free(done.json);
    }
    EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_INVALID_HANDLE, "lease");
    CHECK(is_item(id, "active")); /* its lease has to run out */

    /* The item was stopped behind the worker's back. */
    enqueue(id);
    lease = take(worker, id);
    EXPECT(antenv_work_stop(owner, environment, id, "{\"force\":true}", &json), ANTENV_OK, id);
    EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_OK, "null");

    /* A queue that is freed before the lease ends is forgotten. */
    enqueue(id);
    lease = take(worker, id);
    CHECK(antenv_lease_attach_lost(lease, queue, LOST_TAG) == ANTENV_OK);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    CHECK(antenv_lease_attach_lost(lease, queue, LOST_TAG) == ANTENV_INVALID_HANDLE);
    finish(lease, id);
    free_worker(worker);
}

/* A way to wait for a lease: antenv_lease_wait or antenv_lease_wait_lost. */
typedef antenv_status (*lease_wait)(antenv_lease *, int64_t, char **);

static void *wait_for_the_lease_by(lease_wait wait, void *lease) {
    char *mine = NULL;
    antenv_status status = wait(lease, -1, &mine);
    CHECK(mine && (status == ANTENV_OK ? strstr(mine, "\"lost\"") != NULL : status == ANTENV_DONE || status == ANTENV_INVALID_HANDLE));
    antenv_string_free(mine);
    return status == ANTENV_INVALID_HANDLE ? NULL : lease; /* which would be: it came too late to wait */
}

static void *wait_for_the_lease(void *lease) {
    return wait_for_the_lease_by(antenv_lease_wait, lease);
}

static void *wait_for_its_loss(void *lease) {
    return wait_for_the_lease_by(antenv_lease_wait_lost, lease);
}

static void one_thread_waits_while_another_finishes(void *(*wait)(void *)) {
    antenv_worker *worker = new_worker("");
    char id[ID];
    void *waited = NULL;
    /* A thread that has not begun to wait finds no lease any more: another round, then. */
    for (int round = 0; round < 50 && !waited; round++) {
        pthread_t thread;
        enqueue(id);
        antenv_lease *lease = take(worker, id);
        CHECK(pthread_create(&thread, NULL, wait, lease) == 0);
        usleep(1000u << (round < 8 ? round : 8));
        finish(lease, id);
        CHECK(pthread_join(thread, &waited) == 0);
    }
    CHECK(waited);
    free_worker(worker);
}

/* Returns 0 if the lease ran out before its next heartbeat: on a busy machine that may happen. */
static int who_is_asked_to_stop_has_as_long_as_the_lease_lasts(void) {
    antenv_worker *worker = new_worker(",\"desired_ttl_seconds\":2");
    antenv_queue *queue = new_queue();
    char id[ID];
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    CHECK(antenv_lease_attach(lease, queue, LEASE_TAG) == ANTENV_OK);
    CHECK(antenv_lease_attach_lost(lease, queue, LOST_TAG) == ANTENV_OK);
    EXPECT(antenv_work_stop(owner, environment, id, NULL, &json), ANTENV_OK, id);
    CHECK(antenv_lease_wait(lease, -1, &json) == ANTENV_OK);
    int is_asked = strstr(json, "\"reason\":\"asked\"") != NULL;
    antenv_string_free(json);
    /* Being asked to stop is not reported as a loss. */
    antenv_status status = antenv_lease_wait_lost(lease, 0, &json);
    CHECK(status == ANTENV_TIMEOUT || (status == ANTENV_OK && strstr(json, "\"lost\"")));
    antenv_string_free(json);
    EXPECT(antenv_lease_wait_lost(lease, -1, &json), ANTENV_OK, "\"expired\"");
    antenv_completion first = next_completion(queue), lost = next_completion(queue);
    if (is_asked) {
        CHECK(first.tag == LEASE_TAG && first.status == ANTENV_OK && strstr(first.json, "\"stop_requested\""));
        CHECK(lost.tag == LOST_TAG && lost.status == ANTENV_OK && strstr(lost.json, "\"lost\""));
    }
    antenv_string_free(first.json);
    antenv_string_free(lost.json);
    EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_LEASE_LOST, "\"lease_lost\"");
    if (!is_asked) {
        antenv_work_stop(owner, environment, id, "{\"force\":true}", &json);
        antenv_string_free(json);
        json = NULL;
    }
    free_worker(worker);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    return is_asked;
}

static void a_lost_lease_stops_nothing(void) {
    antenv_worker *worker = new_worker(",\"desired_ttl_seconds\":30"), *others = new_worker("");
    antenv_queue *queue = new_queue();
    char id[ID], *params = "{\"body\":{\"advance_ms\":31000}}";
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    CHECK(antenv_lease_attach(lease, queue, LEASE_TAG) == ANTENV_OK);
    EXPECT(antenv_request(owner, "POST", "/_emulator/clock", params, &json), ANTENV_OK, "");
    antenv_lease *taken_over = take(others, id);
    EXPECT(antenv_lease_wait(lease, -1, &json), ANTENV_OK, "\"reason\":\"taken\"");
    antenv_completion done = next_completion(queue);
    CHECK(done.tag == LEASE_TAG && done.status == ANTENV_OK && strstr(done.json, "\"state\":\"lost\""));
    antenv_string_free(done.json);
    CHECK(antenv_lease_attach(lease, queue, 9) == ANTENV_OK); /* reports at once */
    done = next_completion(queue);
    CHECK(done.tag == 9 && done.status == ANTENV_OK);
    antenv_string_free(done.json);
    EXPECT(antenv_lease_wait_lost(lease, 0, &json), ANTENV_OK, "\"reason\":\"taken\"");
    CHECK(antenv_lease_attach_lost(lease, queue, LOST_TAG) == ANTENV_OK);
    done = next_completion(queue);
    CHECK(done.tag == LOST_TAG && done.status == ANTENV_OK && strstr(done.json, "\"state\":\"lost\""));
    antenv_string_free(done.json);
    EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_LEASE_LOST, "\"lease_lost\"");
    EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_INVALID_HANDLE, "lease");
    CHECK(is_item(id, "active"));
    finish(taken_over, id);
    free_worker(worker);
    free_worker(others);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

static void freeing_a_worker_frees_no_lease(void) {
    antenv_worker *worker = new_worker(",\"concurrency\":9,\"desired_ttl_seconds\":30,\"grace_ms\":3600000");
    struct waiter waiters[THREADS];
    char id[ID];
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    begin_waiting(waiters, THREADS, worker);
    free_worker(worker);
    end_waiting(waiters, THREADS, ANTENV_DONE);
    EXPECT(antenv_worker_next(worker, 0, &(antenv_lease *){NULL}, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"worker\"");
    is_kept(lease);
    finish(lease, id);

    /* Leases that go on are asked to stop when the grace period is over. */
    worker = new_worker(",\"grace_ms\":100");
    enqueue(id);
    lease = take(worker, id);
    free_worker(worker);
    EXPECT(antenv_lease_wait(lease, -1, &json), ANTENV_OK, "\"reason\":\"shutdown\"");
    UNTIL(is_item(id, "stopped"));
    CHECK(antenv_lease_finish(lease, NULL, &json) == ANTENV_OK);
    antenv_string_free(json);
    json = NULL;
}

static void a_key_that_is_refused_ends_the_worker(void) {
    antenv_worker *worker = NULL;
    antenv_queue *queue = new_queue();
    antenv_lease *lease = NULL;
    char config[256];
    snprintf(config, sizeof config, "{\"environment_id\":\"%s\",\"environment_key\":\"sk-ant-oat01-wrong\"}", environment);
    EXPECT(antenv_worker_new(owner, config, &worker, &json), ANTENV_OK, NULL);
    CHECK(antenv_worker_attach(worker, queue, WORKER_TAG) == ANTENV_OK);
    antenv_completion done = next_completion(queue);
    CHECK(done.tag == WORKER_TAG && done.status == ANTENV_AUTHENTICATION);
    antenv_string_free(done.json);
    for (int i = 0; i < 2; i++) EXPECT(antenv_worker_next(worker, -1, &lease, &json), ANTENV_AUTHENTICATION, "\"http_status\":401");
    free_worker(worker);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

/* ---- Shutting down, forking ---- */

static void shutting_down_loses_what_is_held(void) {
    antenv_worker *worker = new_worker(",\"concurrency\":3");
    struct waiter waiter;
    antenv_queue *queue = new_queue();
    pthread_t thread;
    void *waited = NULL;
    char first[ID], second[ID], id[ID];
    enqueue(first);
    antenv_lease *lease = take(worker, first);
    enqueue(second);
    antenv_lease *other = take(worker, second);
    CHECK(antenv_lease_attach(other, queue, LEASE_TAG) == ANTENV_OK);
    CHECK(pthread_create(&thread, NULL, wait_for_the_lease, lease) == 0);
    begin_waiting(&waiter, 1, worker);
    CHECK(antenv_shutdown(0) == ANTENV_TIMEOUT);
    end_waiting(&waiter, 1, ANTENV_DONE);
    CHECK(pthread_join(thread, &waited) == 0 && waited == lease);
    EXPECT(antenv_lease_wait(lease, -1, &json), ANTENV_OK, "\"reason\":\"shutdown\"");
    antenv_completion done = next_completion(queue);
    CHECK(done.tag == LEASE_TAG && done.status == ANTENV_OK && strstr(done.json, "\"reason\":\"shutdown\""));
    antenv_string_free(done.json);
    EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_LEASE_LOST, "lease_lost");
    EXPECT(antenv_lease_submit_finish(other, NULL, queue, FINISH_TAG, &json), ANTENV_OK, NULL);
    done = next_completion(queue);
    CHECK(done.tag == FINISH_TAG && done.status == ANTENV_LEASE_LOST);
    antenv_string_free(done.json);
    EXPECT(antenv_worker_stats(worker, &json), ANTENV_OK, "\"state\":\"stopped\"");
    free_worker(worker);
    CHECK(is_item(first, "active") && is_item(second, "active")); /* their leases run out */

    worker = new_worker("");
    enqueue(id);
    finish(take(worker, id), id);

    /* The stop of an item is on its way: whoever waits for it is told that it may not have come about. */
    hold(owner, "work.stop", 1);
    enqueue(id);
    lease = take(worker, id);
    EXPECT(antenv_lease_submit_finish(lease, NULL, queue, FINISH_TAG, &json), ANTENV_OK, NULL);
    UNTIL(held(owner, "work.stop") == 1);
    CHECK(antenv_shutdown(0) == ANTENV_TIMEOUT);
    done = next_completion(queue);
    CHECK(done.tag == FINISH_TAG && done.status == ANTENV_CANCELLED && strstr(done.json, "before the item was stopped"));
    antenv_string_free(done.json);
    free_worker(worker);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    CHECK(antenv_shutdown(WAIT_MS) == ANTENV_OK);
}

static void a_childs_view(antenv_worker *worker, antenv_lease *lease) {
    antenv_queue *queue = new_queue();
    antenv_lease *none = lease;
    antenv_client *own = owner;
    char id[ID];
    EXPECT(antenv_worker_next(worker, -1, &none, &json), ANTENV_CLOSED, "child");
    CHECK(none == NULL);
    EXPECT(antenv_worker_stats(worker, &json), ANTENV_CLOSED, "child");
    EXPECT(antenv_worker_metrics(worker, &json), ANTENV_CLOSED, "child");
    CHECK(antenv_worker_attach(worker, queue, 1) == ANTENV_CLOSED && antenv_worker_stop(worker) == ANTENV_CLOSED);
    EXPECT(antenv_lease_state(lease, &json), ANTENV_CLOSED, "child");
    EXPECT(antenv_lease_wait(lease, -1, &json), ANTENV_CLOSED, "child");
    EXPECT(antenv_lease_wait_lost(lease, -1, &json), ANTENV_CLOSED, "child");
    EXPECT(antenv_lease_client(lease, &own, &json), ANTENV_CLOSED, "child");
    EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_CLOSED, "child");
    EXPECT(antenv_lease_submit_finish(lease, NULL, queue, 1, &json), ANTENV_CLOSED, "child");
    CHECK(antenv_lease_attach_lost(lease, queue, 1) == ANTENV_CLOSED);
    CHECK(antenv_lease_attach(lease, queue, 1) == ANTENV_CLOSED && !is_readable(antenv_queue_fd(queue)));
    free_worker(worker);
    CHECK(antenv_lease_abandon(lease) == ANTENV_OK && antenv_lease_abandon(lease) == ANTENV_INVALID_HANDLE);

    /* It may have a worker of its own. */
    worker = new_worker("");
    enqueue(id);
    finish(take(worker, id), id);
    free_worker(worker);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    _exit(0);
}

static void a_fork_leaves_everything_to_the_parent(void) {
    antenv_worker *worker = new_worker(",\"concurrency\":2,\"desired_ttl_seconds\":30,\"grace_ms\":3600000");
    antenv_queue *queue = new_queue();
    struct waiter waiter;
    char id[ID];
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    CHECK(antenv_lease_attach(lease, queue, LEASE_TAG) == ANTENV_OK);
    for (int round = 0; round < 3; round++) {
        pid_t child = forked();
        if (child == 0) a_childs_view(worker, lease);
        ends_well(child);
    }
    begin_waiting(&waiter, 1, worker);
    CHECK(antenv_worker_stop(worker) == ANTENV_OK);
    end_waiting(&waiter, 1, ANTENV_DONE);
    is_kept(lease);
    CHECK(!is_readable(antenv_queue_fd(queue)));
    finish(lease, id);
    antenv_completion done = next_completion(queue);
    CHECK(done.tag == LEASE_TAG && done.status == ANTENV_DONE);
    antenv_string_free(done.json);
    free_worker(worker);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

int main(int argc, char **argv) {
    CHECK(argc == 5);
    title = argv[2], url = argv[1], environment = argv[3], key = argv[4];
    bound();
    owner = connect_to(url, "");
    if (strcmp(title, "claiming") == 0) {
        nothing_comes_before_its_time();
        a_signal_ends_the_wait_and_nothing_is_lost();
        each_item_goes_to_one_of_many_threads();
        an_event_loop_needs_no_thread();
        a_key_that_is_refused_ends_the_worker();
    } else if (strcmp(title, "ending") == 0) {
        a_lease_ends_once();
        one_thread_waits_while_another_finishes(wait_for_the_lease);
        one_thread_waits_while_another_finishes(wait_for_its_loss);
        UNTIL(who_is_asked_to_stop_has_as_long_as_the_lease_lasts());
        a_lost_lease_stops_nothing();
        freeing_a_worker_frees_no_lease();
    } else if (strcmp(title, "shutting down") == 0) {
        shutting_down_loses_what_is_held();
    } else if (strcmp(title, "forking") == 0) {
        a_fork_leaves_everything_to_the_parent();
    } else {
        CHECK(strcmp(title, "many") == 0);
        serve_all(16, 200, ",\"concurrency\":16,\"drain\":true");
    }
    CHECK(antenv_client_free(owner) == ANTENV_OK);
    printf("worker %s: as it should be\n", title);
    return 0;
}
