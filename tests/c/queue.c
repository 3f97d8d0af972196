/*
 * The completion queue: what is submitted comes back by its tag, what is refused never does; the descriptor, freeing, and the
 * misuse of all that. argv[1]: the server's URL.
 */
#define _GNU_SOURCE
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

static char *json;
/* Talks to the emulator's control endpoints, so that the counts of the client under test are of the test's calls alone. */
static antenv_client *control;

static const antenv_completion GARBAGE = {.tag = 99, .status = 99, .json = (char *)&json};

static int is_clear(const antenv_completion *completion) {
    return completion->tag == 0 && completion->status == ANTENV_OK && completion->json == NULL;
}

/* Takes the next completion, which must come, with that tag and status and with that text in its JSON. */
static void take(antenv_queue *queue, uint64_t tag, antenv_status status, const char *text) {
    antenv_completion done = GARBAGE;
    CHECK(antenv_queue_next(queue, WAIT_MS, &done) == ANTENV_OK);
    if (done.tag != tag || done.status != status || !strstr(done.json, text)) {
        fprintf(stderr, "tag %llu: %s: %s\n", (unsigned long long)done.tag, antenv_status_name(done.status), done.json);
        CHECK(done.tag == tag && done.status == status && strstr(done.json, text));
    }
    antenv_string_free(done.json);
}

static void expect_nothing(antenv_queue *queue) {
    antenv_completion done = GARBAGE;
    CHECK(!is_readable(antenv_queue_fd(queue)));
    CHECK(antenv_queue_next(queue, 0, &done) == ANTENV_TIMEOUT);
    CHECK(is_clear(&done));
}

static void submit(antenv_client *client, antenv_queue *queue, const char *params, uint64_t tag) {
    EXPECT(antenv_submit(client, queue, "environments.list", params, tag, NULL, &json), ANTENV_OK, NULL);
}

/* Waits until every call through the client has ended and its completion is in its queue. */
static void settle(antenv_client *client) {
    UNTIL(counted(client, NULL, "in_flight") == 0);
    /* A call is counted just before its completion is put down, by the thread that serves this one after it. */
    EXPECT(antenv_request(control, "GET", "/_emulator/health", NULL, &json), ANTENV_OK, "true");
}

static void results_come_by_tag(antenv_client *client) {
    antenv_queue *queue = new_queue();
    antenv_ticket *ticket = (antenv_ticket *)queue;
    EXPECT(antenv_submit(client, queue, "environments.list", NULL, 0, &ticket, &json), ANTENV_OK, NULL);
    CHECK(ticket != NULL && antenv_ticket_free(ticket) == ANTENV_OK);
    take(queue, 0, ANTENV_OK, "\"next_page\"");
    EXPECT(antenv_submit(client, queue, "environments.retrieve", "{\"environment_id\":\"env_none\"}", 2, NULL, NULL), ANTENV_OK, NULL);
    take(queue, 2, ANTENV_NOT_FOUND, "\"status\":\"not_found\"");
    EXPECT(antenv_submit_request(client, queue, "GET", "/_emulator/health", NULL, UINT64_MAX, NULL, &json), ANTENV_OK, NULL);
    take(queue, UINT64_MAX, ANTENV_OK, "\"ok\":true");
    EXPECT(antenv_submit_request(client, queue, "GET", "/v1/nowhere", "{\"query\":{\"a\":1}}", 4, NULL, &json), ANTENV_OK, NULL);
    take(queue, 4, ANTENV_NOT_FOUND, "\"http_status\":404");
    set_faults(control, "[{\"latency_ms\":60000}]");
    double begun = now_ms();
    submit(client, queue, "{\"timeout_ms\":50}", 5);
    take(queue, 5, ANTENV_TIMEOUT, "no response within 50 ms");
    CHECK(now_ms() - begun >= 50);
    set_faults(control, "[{\"status\":200,\"body\":\"half a rep\"}]");
    submit(client, queue, NULL, 6);
    take(queue, 6, ANTENV_RESPONSE, "\"status\":\"response\"");
    expect_nothing(queue);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

static void refused(antenv_queue *queue, antenv_status got, antenv_status wanted, const char *text, antenv_ticket **ticket) {
    CHECK(got == wanted && *ticket == NULL && json != NULL);
    if (!strstr(json, text)) fprintf(stderr, "%s\n", json);
    CHECK(strstr(json, text) && strstr(json, antenv_status_name(wanted)));
    antenv_string_free(json);
    json = NULL;
    *ticket = (antenv_ticket *)queue;
}

static void what_is_refused_never_completes(antenv_client *client) {
    const antenv_status argument = ANTENV_INVALID_ARGUMENT, handle = ANTENV_INVALID_HANDLE;
    antenv_client *freed_client = NULL, *wrong_clients[] = {NULL, NULL, NULL, (antenv_client *)(uintptr_t)1};
    antenv_queue *queue = new_queue(), *freed_queue = new_queue(), *wrong_queues[] = {NULL, freed_queue, NULL, NULL};
    antenv_ticket *ticket = (antenv_ticket *)queue;
    EXPECT(antenv_client_derive(client, NULL, &freed_client, &json), ANTENV_OK, NULL);
    CHECK(antenv_client_free(freed_client) == ANTENV_OK && antenv_queue_free(freed_queue) == ANTENV_OK);
    wrong_clients[1] = freed_client, wrong_clients[2] = (antenv_client *)queue;
    wrong_queues[2] = (antenv_queue *)client, wrong_queues[3] = (antenv_queue *)(void *)&ticket;

    static const struct { const char *operation, *params, *text; } calls[] = {
        {NULL, NULL, "`operation` is NULL"},
        {"environments.destroy", NULL, "environments.create, environments.list"},
        {"environments.\xff", NULL, "`operation` is not valid UTF-8"},
        {"environments.list", "{", "`params_json` is not valid JSON"},
        {"environments.list", "[]", "`params_json` must be a JSON object"},
        {"environments.list", "{\"limt\":1}", "\"parameter\":\"limt\""},
        {"environments.list", "{\"timeout_ms\":0}", "\"parameter\":\"timeout_ms\""},
        {"environments.retrieve", NULL, "\"parameter\":\"environment_id\""},
        {"work.poll", "{\"environment_id\":\"env_1\",\"block_ms\":1000}", "\"parameter\":\"block_ms\""},
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const char *operation = calls[i].operation, *params = calls[i].params;
        refused(queue, antenv_submit(client, queue, operation, params, 1, &ticket, &json), argument, calls[i].text, &ticket);
        CHECK(antenv_submit(client, queue, operation, params, 1, NULL, NULL) == argument);
        expect_nothing(queue);
    }
    static char far[70000] = "/";
    memset(far + 1, 'x', sizeof far - 2);
    static const struct { const char *method, *path, *params, *text; } requests[] = {
        {NULL, "/v1/x", NULL, "`method` is NULL"},
        {"GET", NULL, NULL, "`path` is NULL"},
        {"FETCH", "/v1/x", NULL, "\"parameter\":\"method\""},
        {"GET", "v1/x", NULL, "\"parameter\":\"path\""},
        {"GET", far, NULL, "`path` is too long for a URL"},
        {"GET", "/v1/x", "{\"querry\":{}}", "\"parameter\":\"querry\""},
    };
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        const char *method = requests[i].method, *path = requests[i].path, *params = requests[i].params;
        antenv_status got = antenv_submit_request(client, queue, method, path, params, 1, &ticket, &json);
        refused(queue, got, argument, requests[i].text, &ticket);
    }
    for (int i = 0; i < 4; i++) {
        antenv_client *other = wrong_clients[i];
        antenv_queue *none = wrong_queues[i];
        antenv_status got = antenv_submit(other, queue, "environments.list", NULL, 1, &ticket, &json);
        refused(queue, got, handle, "\"parameter\":\"client\"", &ticket);
        got = antenv_submit_request(other, queue, "GET", "/v1/x", NULL, 1, &ticket, &json);
        refused(queue, got, handle, "\"parameter\":\"client\"", &ticket);
        got = antenv_submit(client, none, "environments.list", NULL, 1, &ticket, &json);
        refused(queue, got, handle, "\"parameter\":\"queue\"", &ticket);
        got = antenv_submit_request(client, none, "GET", "/v1/x", NULL, 1, &ticket, &json);
        refused(queue, got, handle, "\"parameter\":\"queue\"", &ticket);
    }
    CHECK(counted(client, NULL, "started") == 0);
    expect_nothing(queue);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

static void wrong_arguments_of_the_queue_are_rejected(antenv_client *client) {
    antenv_queue *queue = new_queue(), *freed = new_queue(), *none = queue;
    CHECK(antenv_queue_free(freed) == ANTENV_OK);
    CHECK(antenv_queue_new(NULL, NULL) == ANTENV_INVALID_ARGUMENT);
    EXPECT(antenv_queue_new(NULL, &json), ANTENV_INVALID_ARGUMENT, "`out` is NULL");
    antenv_queue *wrong[] = {NULL, freed, (antenv_queue *)client, (antenv_queue *)(void *)&none, (antenv_queue *)~(uintptr_t)0};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        antenv_completion done = GARBAGE;
        size_t count = 7;
        CHECK(antenv_queue_fd(wrong[i]) == -1);
        CHECK(antenv_queue_next(wrong[i], -1, &done) == ANTENV_INVALID_HANDLE);
        CHECK(is_clear(&done));
        done = GARBAGE;
        CHECK(antenv_queue_next_many(wrong[i], -1, &done, 1, &count) == ANTENV_INVALID_HANDLE);
        CHECK(is_clear(&done) && count == 0);
        CHECK(antenv_queue_free(wrong[i]) == ANTENV_INVALID_HANDLE);
        CHECK(antenv_ticket_cancel((antenv_ticket *)wrong[i]) == ANTENV_INVALID_HANDLE);
        CHECK(antenv_ticket_free((antenv_ticket *)wrong[i]) == ANTENV_INVALID_HANDLE);
        EXPECT(antenv_log_subscribe(wrong[i], "info", 0, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"queue\"");
    }
    /* With a completion at hand, which must not be lost by a call that is refused. */
    submit(client, queue, NULL, 3);
    settle(client);
    for (int64_t timeout = -2; timeout > -2000000000000; timeout *= 1000) {
        antenv_completion many[2] = {GARBAGE, GARBAGE};
        size_t count = 7;
        CHECK(antenv_queue_next(queue, timeout, many) == ANTENV_INVALID_ARGUMENT && is_clear(many));
        many[0] = GARBAGE;
        CHECK(antenv_queue_next_many(queue, timeout, many, 2, &count) == ANTENV_INVALID_ARGUMENT);
        CHECK(is_clear(many) && count == 0 && many[1].tag == GARBAGE.tag);
        count = 7;
        CHECK(antenv_queue_next_many(queue, 0, many, 0, &count) == ANTENV_INVALID_ARGUMENT && count == 0);
        count = 7;
        CHECK(antenv_queue_next_many(queue, 0, NULL, 2, &count) == ANTENV_INVALID_ARGUMENT && count == 0);
        CHECK(antenv_queue_next_many(queue, 0, many, 2, NULL) == ANTENV_INVALID_ARGUMENT);
        CHECK(antenv_queue_next(queue, 0, NULL) == ANTENV_INVALID_ARGUMENT);
    }
    take(queue, 3, ANTENV_OK, "\"data\"");
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

static void waiting_ends_when_the_time_is_over(void) {
    antenv_queue *queue = new_queue();
    antenv_completion done = GARBAGE;
    double begun = now_ms();
    CHECK(antenv_queue_next(queue, 40, &done) == ANTENV_TIMEOUT && is_clear(&done));
    CHECK(now_ms() - begun >= 40);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

static void many_are_taken_up_to_the_capacity(antenv_client *client) {
    antenv_queue *queue = new_queue();
    antenv_completion many[16];
    size_t count;
    int seen[5] = {0};
    for (uint64_t tag = 0; tag < 5; tag++) submit(client, queue, NULL, tag);
    settle(client);
    static const struct { size_t capacity, given; } steps[] = {{2, 2}, {1, 1}, {16, 2}};
    for (int step = 0; step < 3; step++) {
        for (int i = 0; i < 16; i++) many[i] = GARBAGE;
        CHECK(antenv_queue_next_many(queue, step == 0 ? 0 : -1, many, steps[step].capacity, &count) == ANTENV_OK);
        CHECK(count == steps[step].given);
        for (size_t i = 0; i < count; i++) {
            CHECK(many[i].tag < 5 && many[i].status == ANTENV_OK && strstr(many[i].json, "\"data\""));
            CHECK(seen[many[i].tag]++ == 0);
            antenv_string_free(many[i].json);
        }
        for (size_t i = count; i < 16; i++) CHECK(many[i].tag == GARBAGE.tag && many[i].json == GARBAGE.json);
    }
    count = 7;
    CHECK(antenv_queue_next_many(queue, 5, many, 16, &count) == ANTENV_TIMEOUT);
    CHECK(count == 0 && is_clear(many));
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

static void the_descriptor_is_readable_exactly_while_something_waits(antenv_client *client) {
    antenv_queue *queue = new_queue(), *other = new_queue();
    int fd = antenv_queue_fd(queue);
    CHECK(fd >= 0 && antenv_queue_fd(other) >= 0 && antenv_queue_fd(other) != fd);
    for (int round = 0; round < 3; round++) {
        CHECK(!is_readable(fd));
        submit(client, queue, NULL, 1);
        settle(client);
        CHECK(is_readable(fd));
        submit(client, queue, NULL, 2);
        settle(client);
        CHECK(is_readable(fd));
        take(queue, 1, ANTENV_OK, "\"data\"");
        CHECK(is_readable(fd));
        take(queue, 2, ANTENV_OK, "\"data\"");
        CHECK(!is_readable(fd));
        expect_nothing(queue);
    }
    CHECK(!is_readable(antenv_queue_fd(other)) && antenv_queue_fd(queue) == fd);
    /* Whoever watches it is woken when something comes. */
    set_faults(control, "[{\"latency_ms\":30}]");
    submit(client, queue, NULL, 3);
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    CHECK(poll(&watched, 1, WAIT_MS) == 1);
    take(queue, 3, ANTENV_OK, "\"data\"");
    CHECK(antenv_queue_free(queue) == ANTENV_OK && antenv_queue_free(other) == ANTENV_OK);
}

static antenv_queue *shared;
static atomic_long waiting[3];

static void *wait_for_ever(void *number) {
    antenv_completion done = GARBAGE;
    size_t count = 7;
    atomic_store((atomic_long *)number, (long)syscall(SYS_gettid));
    if (number == waiting) {
        CHECK(antenv_queue_next_many(shared, -1, &done, 1, &count) == ANTENV_CLOSED && count == 0);
    } else {
        CHECK(antenv_queue_next(shared, -1, &done) == ANTENV_CLOSED);
    }
    CHECK(is_clear(&done));
    return NULL;
}

static void freeing_wakes_who_waits_and_cancels_what_is_in_flight(antenv_client *client) {
    pthread_t threads[3];
    long cancelled = counted(client, NULL, "cancelled");
    shared = new_queue();
    set_faults(control, "[{\"latency_ms\":60000,\"count\":3}]");
    for (uint64_t tag = 0; tag < 3; tag++) submit(client, shared, NULL, tag);
    UNTIL(counted(control, "/_emulator/faults", "count") == 0);
    CHECK(counted(control, "/_emulator/connections", "requests_open") == 3 && counted(client, NULL, "in_flight") == 3);
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, wait_for_ever, &waiting[i]) == 0);
    for (int i = 0; i < 3; i++) UNTIL(atomic_load(&waiting[i]) && sleeps_in_poll(atomic_load(&waiting[i])));
    CHECK(antenv_queue_free(shared) == ANTENV_OK);
    for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(antenv_queue_free(shared) == ANTENV_INVALID_HANDLE);
    UNTIL(counted(client, NULL, "in_flight") == 0);
    CHECK(counted(client, NULL, "cancelled") == cancelled + 3);
    UNTIL(counted(control, "/_emulator/connections", "requests_open") == 0);
}

static void freeing_drops_completions_that_wait(antenv_client *client) {
    antenv_queue *queue = new_queue();
    for (uint64_t tag = 0; tag < 3; tag++) submit(client, queue, NULL, tag);
    settle(client);
    CHECK(is_readable(antenv_queue_fd(queue)));
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

static void a_call_outlives_the_client_it_went_through(const char *url, antenv_client *client) {
    antenv_queue *queue = new_queue();
    antenv_client *derived = NULL, *alone = connect_to(url, "");
    EXPECT(antenv_client_derive(client, NULL, &derived, &json), ANTENV_OK, NULL);
    set_faults(control, "[{\"latency_ms\":100,\"count\":2}]");
    submit(derived, queue, NULL, 1);
    submit(alone, queue, NULL, 2);
    UNTIL(counted(control, "/_emulator/faults", "count") == 0);
    CHECK(antenv_client_free(derived) == ANTENV_OK && antenv_client_free(alone) == ANTENV_OK);
    int sum = 0;
    for (int i = 0; i < 2; i++) {
        antenv_completion done;
        CHECK(antenv_queue_next(queue, WAIT_MS, &done) == ANTENV_OK && done.status == ANTENV_OK);
        sum += (int)done.tag;
        antenv_string_free(done.json);
    }
    CHECK(sum == 3);
    expect_nothing(queue);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    control = connect_to(argv[1], "");
    antenv_client *client = connect_to(argv[1], "");
    what_is_refused_never_completes(client);
    results_come_by_tag(client);
    wrong_arguments_of_the_queue_are_rejected(client);
    waiting_ends_when_the_time_is_over();
    many_are_taken_up_to_the_capacity(client);
    the_descriptor_is_readable_exactly_while_something_waits(client);
    freeing_wakes_who_waits_and_cancels_what_is_in_flight(client);
    freeing_drops_completions_that_wait(client);
    a_call_outlives_the_client_it_went_through(argv[1], client);
    CHECK(antenv_client_free(client) == ANTENV_OK && antenv_client_free(control) == ANTENV_OK);
    puts("queue: as it should be");
    return 0;
}
