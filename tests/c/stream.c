/*
 * Streams while other threads, forks, signals and shutdowns get in the way. argv[1]: the URL of a server whose sessions are
 * "three" (three events, then the end), "held" (one event, then nothing) and "flood" (events without an end); argv[2]: "forks",
 * to fork as well.
 */
#define _GNU_SOURCE
#include "process.h"

enum { THREADS = 4, ROUNDS = 30 };

static antenv_client *client;
static char *json;

static antenv_stream *open_stream(const char *session) {
    char params[64];
    antenv_stream *stream = NULL;
    snprintf(params, sizeof params, "{\"session_id\":\"%s\"}", session);
    EXPECT(antenv_stream_open(client, "sessions.events.stream", params, &stream, &json), ANTENV_OK, NULL);
    CHECK(stream != NULL);
    return stream;
}

static antenv_completion collect(antenv_queue *queue) {
    antenv_completion done;
    antenv_status status;
    do status = antenv_queue_next(queue, WAIT_MS, &done);
    while (status == ANTENV_INTERRUPTED);
    CHECK(status == ANTENV_OK);
    return done;
}

static void misuse(void) {
    const char *params = "{\"session_id\":\"three\"}";
    antenv_stream *stream = open_stream("three"), *none = stream;
    antenv_queue *queue = new_queue();
    int local = 0;

    EXPECT(antenv_stream_open((antenv_client *)stream, "sessions.events.stream", params, &none, &json), ANTENV_INVALID_HANDLE, "client");
    CHECK(none == NULL);
    EXPECT(antenv_stream_open(client, "sessions.events.stream", params, NULL, &json), ANTENV_INVALID_ARGUMENT, "`out` is NULL");
    EXPECT(antenv_stream_open(client, NULL, params, &none, &json), ANTENV_INVALID_ARGUMENT, "`operation` is NULL");
    EXPECT(antenv_stream_open(client, "sessions.retrieve", params, &none, &json), ANTENV_INVALID_ARGUMENT, "antenv_call");
    EXPECT(antenv_stream_open(client, "sessions.events.strm", params, &none, &json), ANTENV_INVALID_ARGUMENT, "sessions.events.stream");
    EXPECT(antenv_stream_open(client, "sessions.events.stream", "[]", &none, &json), ANTENV_INVALID_ARGUMENT, "params_json");
    EXPECT(antenv_stream_submit(client, NULL, "sessions.events.stream", params, 1, &none, &json), ANTENV_INVALID_HANDLE, "queue");
    EXPECT(antenv_call(client, "sessions.events.stream", params, &json), ANTENV_INVALID_ARGUMENT, "antenv_stream_open");
    EXPECT(antenv_download(client, "sessions.events.stream", params, "/nonexistent/x", &json), ANTENV_INVALID_ARGUMENT, "antenv_stream_open");
    const char *version = "{\"skill_id\":\"skill_1\",\"version\":\"1\"}";
    const char *paths[] = {"/nonexistent/x", "/", "", "..", "\xff"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        EXPECT(antenv_download(client, "skills.versions.download", version, paths[i], &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"path\"");
    }
    EXPECT(antenv_download(client, "skills.versions.download", version, NULL, &json), ANTENV_INVALID_ARGUMENT, "`path` is NULL");
    CHECK(antenv_download(client, "skills.versions.download", version, "x", NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_stream_next(stream, -1, NULL) == ANTENV_INVALID_ARGUMENT);
    EXPECT(antenv_stream_next(stream, -2, &json), ANTENV_INVALID_ARGUMENT, "timeout_ms");
    for (int i = 0; i < 3; i++) EXPECT(antenv_stream_next(stream, -1, &json), ANTENV_OK, "\"type\"");
    for (int i = 0; i < 3; i++) EXPECT(antenv_stream_next(stream, -1, &json), ANTENV_DONE, NULL);
    CHECK(antenv_stream_attach(stream, queue, 5) == ANTENV_OK);
    antenv_completion done = collect(queue);
    CHECK(done.tag == 5 && done.status == ANTENV_DONE);
    antenv_string_free(done.json);
    CHECK(antenv_stream_free(stream) == ANTENV_OK);
    void *wrong[] = {NULL, stream, client, queue, &local, (void *)~(uintptr_t)0, (void *)(uintptr_t)1};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        EXPECT(antenv_stream_next(wrong[i], -1, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"stream\"");
        CHECK(antenv_stream_attach(wrong[i], queue, 1) == ANTENV_INVALID_HANDLE);
        CHECK(antenv_stream_free(wrong[i]) == ANTENV_INVALID_HANDLE);
    }
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

static atomic_int ready;
static _Atomic long waiting;

/* Takes events until there are no more; returns how that ended. */
static void *take(void *stream) {
    char *mine = NULL;
    antenv_status status;
    atomic_fetch_add(&ready, 1);
    atomic_store(&waiting, syscall(SYS_gettid));
    do {
        status = antenv_stream_next(stream, -1, &mine);
        antenv_string_free(mine);
    } while (status == ANTENV_OK || status == ANTENV_INTERRUPTED);
    return (void *)(intptr_t)status;
}

static void freed_while_threads_wait(const char *session) {
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t takers[THREADS];
        antenv_stream *stream = open_stream(session);
        atomic_store(&ready, 0);
        for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&takers[i], NULL, take, stream) == 0);
        UNTIL(atomic_load(&ready) == THREADS);
        if (round % 3 == 0) usleep(2000);
        CHECK(antenv_stream_free(stream) == ANTENV_OK);
        for (int i = 0; i < THREADS; i++) {
            void *status;
            CHECK(pthread_join(takers[i], &status) == 0);
            CHECK((intptr_t)status == ANTENV_CLOSED || (intptr_t)status == ANTENV_INVALID_HANDLE);
        }
    }
}

static void threads_share_a_stream(void) {
    pthread_t takers[THREADS];
    antenv_stream *stream = open_stream("three");
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&takers[i], NULL, take, stream) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *status;
        CHECK(pthread_join(takers[i], &status) == 0 && (intptr_t)status == ANTENV_DONE);
    }
    CHECK(antenv_stream_free(stream) == ANTENV_OK);
}

static atomic_int handled;

static void note(int number) {
    (void)number;
    atomic_fetch_add(&handled, 1);
}

static void *take_once(void *stream) {
    char *mine = NULL;
    antenv_status status = antenv_stream_next(stream, -1, &mine);
    CHECK(mine != NULL);
    antenv_string_free(mine);
    return (void *)(intptr_t)status;
}

static void *take_once_and_say(void *stream) {
    atomic_store(&waiting, syscall(SYS_gettid));
    return take_once(stream);
}

static void a_signal_interrupts_a_wait(void) {
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    antenv_stream *stream = open_stream("held");
    EXPECT(antenv_stream_next(stream, -1, &json), ANTENV_OK, "\"type\"");
    pthread_t taker;
    void *status;
    atomic_store(&waiting, 0);
    CHECK(pthread_create(&taker, NULL, take_once_and_say, stream) == 0);
    UNTIL(atomic_load(&waiting) != 0 && sleeps_in_poll(atomic_load(&waiting)));
    CHECK(pthread_kill(taker, SIGUSR1) == 0);
    CHECK(pthread_join(taker, &status) == 0 && (intptr_t)status == ANTENV_INTERRUPTED && atomic_load(&handled) > 0);
    EXPECT(antenv_stream_next(stream, 0, &json), ANTENV_TIMEOUT, "still open");
    CHECK(antenv_stream_free(stream) == ANTENV_OK);
}

static void queues_are_freed_at_any_moment(void) {
    for (int round = 0; round < ROUNDS; round++) {
        antenv_queue *queue = new_queue(), *next = new_queue();
        antenv_stream *stream = open_stream("flood"), *submitted = NULL;
        CHECK(antenv_stream_attach(stream, queue, 1) == ANTENV_OK);
        CHECK(antenv_stream_attach(stream, next, 1) == ANTENV_INVALID_ARGUMENT);
        for (int i = 0; i < 50; i++) {
            antenv_completion done = collect(queue);
            CHECK(done.status == ANTENV_OK && done.tag == 1);
            antenv_string_free(done.json);
        }
        CHECK(antenv_queue_free(queue) == ANTENV_OK);
        CHECK(antenv_stream_attach(stream, queue, 1) == ANTENV_INVALID_HANDLE);
        /* It goes on, for threads and for another queue. */
        EXPECT(antenv_stream_next(stream, WAIT_MS, &json), ANTENV_OK, "\"type\"");
        CHECK(antenv_stream_attach(stream, next, 2) == ANTENV_OK);
        antenv_completion done = collect(next);
        CHECK(done.status == ANTENV_OK && done.tag == 2);
        antenv_string_free(done.json);
        CHECK(antenv_stream_free(stream) == ANTENV_OK);
        /* Freed while it opens, or just after that. */
        EXPECT(antenv_stream_submit(client, next, "sessions.events.stream", "{\"session_id\":\"held\"}", 3, &submitted, &json), ANTENV_OK, NULL);
        if (round % 2) usleep(1000);
        CHECK(antenv_stream_free(submitted) == ANTENV_OK);
        CHECK(antenv_queue_free(next) == ANTENV_OK);
    }
}

static void a_shutdown_ends_streams(void) {
    pthread_t taker;
    void *status;
    antenv_stream *stream = open_stream("held"), *unread = open_stream("three");
    UNTIL(antenv_stream_next(stream, 0, &json) == ANTENV_OK || (antenv_string_free(json), 0));
    antenv_string_free(json);
    CHECK(pthread_create(&taker, NULL, take_once, stream) == 0);
    CHECK(antenv_shutdown(-1) == ANTENV_OK);
    CHECK(pthread_join(taker, &status) == 0 && (intptr_t)status == ANTENV_CANCELLED);
    EXPECT(antenv_stream_next(stream, -1, &json), ANTENV_CANCELLED, "shut down");
    CHECK(antenv_stream_free(stream) == ANTENV_OK && antenv_stream_free(unread) == ANTENV_OK);
    UNTIL(named_threads("antenv\n") == 0); /* the kernel lists a thread a moment longer than its end */
    threads_share_a_stream();
}

static void a_fork_leaves_the_stream_to_the_parent(void) {
    antenv_queue *queue = new_queue();
    antenv_stream *stream = open_stream("flood"), *attached = open_stream("flood");
    CHECK(antenv_stream_attach(attached, queue, 7) == ANTENV_OK);
    EXPECT(antenv_stream_next(stream, -1, &json), ANTENV_OK, "\"type\"");
    pid_t child = forked();
    if (child == 0) {
        EXPECT(antenv_stream_next(stream, -1, &json), ANTENV_CLOSED, "created before fork()");
        CHECK(antenv_stream_attach(stream, queue, 1) == ANTENV_CLOSED);
        CHECK(antenv_stream_free(stream) == ANTENV_OK && antenv_stream_free(attached) == ANTENV_OK);
        antenv_completion done;
        CHECK(antenv_queue_next(queue, 0, &done) == ANTENV_TIMEOUT);
        threads_share_a_stream();
        CHECK(antenv_queue_free(queue) == ANTENV_OK && antenv_client_free(client) == ANTENV_OK);
        _exit(0);
    }
    ends_well(child);
    /* More than what had arrived before the fork. */
    for (int i = 0; i < 5000; i++) {
        EXPECT(antenv_stream_next(stream, WAIT_MS, &json), ANTENV_OK, "\"type\"");
        antenv_completion done = collect(queue);
        CHECK(done.status == ANTENV_OK && done.tag == 7);
        antenv_string_free(done.json);
    }
    CHECK(antenv_stream_free(stream) == ANTENV_OK && antenv_stream_free(attached) == ANTENV_OK);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    title = "stream";
    bound();
    client = connect_to(argv[1], "");
    misuse();
    threads_share_a_stream();
    freed_while_threads_wait("held");
    freed_while_threads_wait("flood");
    a_signal_interrupts_a_wait();
    queues_are_freed_at_any_moment();
    a_shutdown_ends_streams();
    if (argc > 2) a_fork_leaves_the_stream_to_the_parent();
    CHECK(antenv_client_free(client) == ANTENV_OK && antenv_shutdown(-1) == ANTENV_OK);
    puts("stream: as it should be");
    return 0;
}
