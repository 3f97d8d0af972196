/*
 * Holds leases that end in every way: finished, lost, asked to stop, at a shutdown, across a fork.
 *
 * argv[1]: the server's URL; argv[2]: what to try; argv[3]: an environment; argv[4]: its key.
 */
#define _GNU_SOURCE
#include "worker.h"

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

/* A lease that another worker has taken over, which its next heartbeat will find out. */
struct lost {
    antenv_worker *worker, *others;
    antenv_queue *queue;
    antenv_lease *lease, *taken_over;
    char id[ID];
};

static struct lost lose(void) {
    struct lost it = {.worker = new_worker(",\"desired_ttl_seconds\":30"), .others = new_worker(""), .queue = new_queue()};
    enqueue(it.id);
    it.lease = take(it.worker, it.id);
    CHECK(antenv_lease_attach(it.lease, it.queue, LEASE_TAG) == ANTENV_OK);
    EXPECT(antenv_request(owner, "POST", "/_emulator/clock", "{\"body\":{\"advance_ms\":31000}}", &json), ANTENV_OK, "");
    it.taken_over = take(it.others, it.id);
    return it;
}

static void a_lost_lease_stops_nothing(struct lost it) {
    antenv_lease *lease = it.lease;
    antenv_queue *queue = it.queue;
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
    CHECK(is_item(it.id, "active"));
    finish(it.taken_over, it.id);
    free_worker(it.worker);
    free_worker(it.others);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

/* A lease whose worker is freed, and how many heartbeats it had before. */
struct left {
    antenv_lease *lease;
    int beats;
    char id[ID];
};

static struct left leave(void) {
    antenv_worker *worker = new_worker(",\"concurrency\":9,\"desired_ttl_seconds\":30,\"grace_ms\":3600000");
    struct waiter waiters[THREADS];
    struct left it;
    enqueue(it.id);
    it.lease = take(worker, it.id);
    begin_waiting(waiters, THREADS, worker);
    free_worker(worker);
    end_waiting(waiters, THREADS, ANTENV_DONE);
    EXPECT(antenv_worker_next(worker, 0, &(antenv_lease *){NULL}, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"worker\"");
    it.beats = beats(it.lease);
    return it;
}

static void freeing_a_worker_frees_no_lease(struct left it) {
    UNTIL(beats(it.lease) > it.beats);
    finish(it.lease, it.id);
}

static void leases_are_asked_to_stop_when_the_grace_period_is_over(void) {
    antenv_worker *worker = new_worker(",\"grace_ms\":100");
    char id[ID];
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    free_worker(worker);
    EXPECT(antenv_lease_wait(lease, -1, &json), ANTENV_OK, "\"reason\":\"shutdown\"");
    UNTIL(is_item(id, "stopped"));
    CHECK(antenv_lease_finish(lease, NULL, &json) == ANTENV_OK);
    antenv_string_free(json);
    json = NULL;
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

    /* The stop of an item is in flight: the completion reports that its outcome is unknown. */
    hold(owner, "work.stop", 1);
    enqueue(id);
    lease = take(worker, id);
    EXPECT(antenv_lease_submit_finish(lease, NULL, queue, FINISH_TAG, &json), ANTENV_OK, NULL);
    UNTIL(held(owner, "work.stop") == 1);
    CHECK(antenv_shutdown(0) == ANTENV_TIMEOUT);
    done = next_completion(queue);
    CHECK(done.tag == FINISH_TAG && done.status == ANTENV_CANCELLED && strstr(done.json, "shut down before the lease was ended"));
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
    begin(argc, argv);
    if (strcmp(title, "ending") == 0) {
        /* The next heartbeats of these two come in 15 seconds, during the others. */
        struct lost lost = lose();
        struct left left = leave();
        a_lease_ends_once();
        one_thread_waits_while_another_finishes(wait_for_the_lease);
        one_thread_waits_while_another_finishes(wait_for_its_loss);
        UNTIL(who_is_asked_to_stop_has_as_long_as_the_lease_lasts());
        leases_are_asked_to_stop_when_the_grace_period_is_over();
        a_lost_lease_stops_nothing(lost);
        freeing_a_worker_frees_no_lease(left);
    } else if (strcmp(title, "shutting down") == 0) {
        shutting_down_loses_what_is_held();
    } else {
        CHECK(strcmp(title, "forking") == 0);
        a_fork_leaves_everything_to_the_parent();
    }
    return end();
}
