/*
 * Claims work: by threads, in an event loop, until there is none or the key is refused.
 *
 * argv[1]: the server's URL; argv[2]: what to try; argv[3]: an environment; argv[4]: its key.
 */
#define _GNU_SOURCE
#include "worker.h"
#include <sys/resource.h>

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

static atomic_int has_waited;

static void *wait_without_a_descriptor(void *worker) {
    antenv_lease *lease;
    char *mine = NULL;
    CHECK(antenv_worker_next(worker, 0, &lease, &mine) == ANTENV_TIMEOUT && mine == NULL);
    CHECK(antenv_worker_next(worker, 30, &lease, &mine) == ANTENV_TIMEOUT && mine == NULL);
    has_waited = 1;
    CHECK(antenv_worker_next(worker, -1, &lease, &mine) == ANTENV_DONE && mine == NULL);
    return NULL;
}

static void a_thread_that_gets_no_descriptor_can_wait(void) {
    antenv_worker *worker = new_worker("");
    struct rlimit before, none;
    pthread_t thread;
    char id[ID];
    enqueue(id);
    finish(take(worker, id), id); /* it is connected */
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = before;
    none.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK(pthread_create(&thread, NULL, wait_without_a_descriptor, worker) == 0);
    UNTIL(has_waited);
    EXPECT(antenv_worker_stop(worker), ANTENV_OK, NULL);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
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

int main(int argc, char **argv) {
    begin(argc, argv);
    if (strcmp(title, "claiming") == 0) {
        nothing_comes_before_its_time();
        a_signal_ends_the_wait_and_nothing_is_lost();
        a_thread_that_gets_no_descriptor_can_wait();
        each_item_goes_to_one_of_many_threads();
        an_event_loop_needs_no_thread();
        a_key_that_is_refused_ends_the_worker();
    } else {
        CHECK(strcmp(title, "many") == 0);
        serve_all(16, 200, ",\"concurrency\":16,\"drain\":true");
    }
    return end();
}
