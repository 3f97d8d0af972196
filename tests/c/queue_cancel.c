/*
 * Cancelling what was submitted to a completion queue. argv[1]: the server's URL, argv[2]: an environment, argv[3]: how many calls are
 * cancelled one by one, argv[4]: within how many milliseconds the completion is to come, in the median. Says how many held requests it
 * gave up.
 */
#define _GNU_SOURCE
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

static char *json;
/* Talks to the emulator's control endpoints, so that the counts of the client under test are of the test's calls alone. */
static antenv_client *control;
static antenv_client *client;
static antenv_queue *queue;
/* Requests that the server was holding when their call ended. */
static int given_up;

static antenv_ticket *submit(const char *params, uint64_t tag) {
    antenv_ticket *ticket = NULL;
    EXPECT(antenv_submit(client, queue, "environments.list", params, tag, &ticket, &json), ANTENV_OK, NULL);
    CHECK(ticket != NULL);
    return ticket;
}

/* A call whose request has reached the server, which is in no hurry. */
static antenv_ticket *submit_held(uint64_t tag) {
    set_faults(control, "[{\"latency_ms\":60000}]");
    antenv_ticket *ticket = submit(NULL, tag);
    UNTIL(counted(control, "/_emulator/faults", "count") == 0);
    given_up++;
    return ticket;
}

/* Takes the next completion, which must come, with that tag; returns its status. */
static antenv_status take(uint64_t tag) {
    antenv_completion done;
    CHECK(antenv_queue_next(queue, WAIT_MS, &done) == ANTENV_OK);
    CHECK(done.tag == tag && done.json != NULL);
    if (done.status == ANTENV_CANCELLED) {
        CHECK(strstr(done.json, "\"status\":\"cancelled\"") && strstr(done.json, "\"code\":6,"));
    } else {
        CHECK(done.status != ANTENV_OK || strstr(done.json, "\"data\""));
    }
    antenv_string_free(done.json);
    return done.status;
}

static void expect_nothing(void) {
    antenv_completion done;
    CHECK(!is_readable(antenv_queue_fd(queue)));
    CHECK(antenv_queue_next(queue, 0, &done) == ANTENV_TIMEOUT);
}

static void a_held_call_ends_once_and_its_request_with_it(void) {
    antenv_ticket *ticket = submit_held(1);
    CHECK(counted(control, "/_emulator/connections", "requests_open") == 1);
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_cancel(ticket) == ANTENV_OK);
    CHECK(take(1) == ANTENV_CANCELLED);
    UNTIL(counted(control, "/_emulator/connections", "requests_open") == 0);
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK);
    CHECK(antenv_ticket_free(ticket) == ANTENV_OK);
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_INVALID_HANDLE);
    CHECK(antenv_ticket_free(ticket) == ANTENV_INVALID_HANDLE);
    CHECK(antenv_ticket_free(NULL) == ANTENV_INVALID_HANDLE && antenv_ticket_cancel(NULL) == ANTENV_INVALID_HANDLE);
    CHECK(antenv_ticket_cancel((antenv_ticket *)queue) == ANTENV_INVALID_HANDLE);
    expect_nothing();
}

static void other_calls_do_not_notice(void) {
    antenv_ticket *held = submit_held(1), *other = submit_held(2);
    CHECK(antenv_ticket_cancel(held) == ANTENV_OK);
    CHECK(take(1) == ANTENV_CANCELLED);
    expect_nothing();
    CHECK(counted(client, NULL, "in_flight") == 1);
    CHECK(antenv_ticket_cancel(other) == ANTENV_OK);
    CHECK(take(2) == ANTENV_CANCELLED);
    CHECK(antenv_ticket_free(held) == ANTENV_OK && antenv_ticket_free(other) == ANTENV_OK);
}

static void a_cancel_right_after_the_submission_counts_too(void) {
    set_faults(control, "[{\"latency_ms\":60000,\"count\":20}]");
    for (uint64_t tag = 0; tag < 20; tag++) {
        antenv_ticket *ticket = submit(NULL, tag);
        CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_free(ticket) == ANTENV_OK);
        CHECK(take(tag) == ANTENV_CANCELLED);
    }
    EXPECT(antenv_request(control, "DELETE", "/_emulator/faults", NULL, &json), ANTENV_OK, "");
    expect_nothing();
}

static void freeing_the_ticket_lets_the_call_go_on(void) {
    set_faults(control, "[{\"latency_ms\":50}]");
    antenv_ticket *ticket = submit(NULL, 1);
    CHECK(antenv_ticket_free(ticket) == ANTENV_OK);
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_INVALID_HANDLE);
    CHECK(take(1) == ANTENV_OK);
    expect_nothing();
}

static void a_result_that_waits_is_not_taken_back(void) {
    antenv_ticket *ticket = submit(NULL, 1);
    UNTIL(is_readable(antenv_queue_fd(queue)));
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK);
    CHECK(take(1) == ANTENV_OK);
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK);
    CHECK(antenv_ticket_free(ticket) == ANTENV_OK);
    expect_nothing();
}

/* An item that a poll has claimed must not get lost. */
static void a_claimed_item_is_not_taken_back(const char *environment) {
    char params[128];
    antenv_ticket *ticket = NULL;
    antenv_completion done;
    snprintf(params, sizeof params, "{\"body\":{\"environment_id\":\"%s\"}}", environment);
    EXPECT(antenv_request(control, "POST", "/_emulator/work", params, &json), ANTENV_OK, "work_");
    snprintf(params, sizeof params, "{\"environment_id\":\"%s\",\"block_ms\":999}", environment);
    EXPECT(antenv_submit(client, queue, "work.poll", params, 1, &ticket, &json), ANTENV_OK, NULL);
    UNTIL(is_readable(antenv_queue_fd(queue)));
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_free(ticket) == ANTENV_OK);
    CHECK(antenv_queue_next(queue, WAIT_MS, &done) == ANTENV_OK);
    CHECK(done.tag == 1 && done.status == ANTENV_OK && strstr(done.json, "\"work_"));
    antenv_string_free(done.json);
    expect_nothing();
}

static void a_call_that_waits_to_try_again_ends_too(void) {
    long retries = counted(client, NULL, "overloaded");
    set_faults(control, "[{\"status\":529,\"headers\":{\"retry-after\":\"60\"}}]");
    antenv_ticket *ticket = submit(NULL, 1);
    UNTIL(counted(client, NULL, "overloaded") == retries + 1);
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_free(ticket) == ANTENV_OK);
    CHECK(take(1) == ANTENV_CANCELLED);
}

static atomic_long waiting;

static void *wait_for_one(void *unused) {
    (void)unused;
    atomic_store(&waiting, (long)syscall(SYS_gettid));
    CHECK(take(1) == ANTENV_CANCELLED);
    return NULL;
}

static void a_thread_that_waits_is_woken(void) {
    pthread_t thread;
    antenv_ticket *ticket = submit_held(1);
    CHECK(pthread_create(&thread, NULL, wait_for_one, NULL) == 0);
    UNTIL(atomic_load(&waiting) && sleeps_in_poll(atomic_load(&waiting)));
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(antenv_ticket_free(ticket) == ANTENV_OK);
}

static int ascending(const void *a, const void *b) {
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static void the_completion_comes_at_once(int rounds, double bound) {
    double *took = malloc((size_t)rounds * sizeof *took);
    CHECK(took != NULL);
    for (int i = 0; i < rounds; i++) {
        antenv_ticket *ticket = submit_held((uint64_t)i);
        double begun = now_ms();
        CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK);
        CHECK(take((uint64_t)i) == ANTENV_CANCELLED);
        took[i] = now_ms() - begun;
        CHECK(antenv_ticket_free(ticket) == ANTENV_OK);
    }
    qsort(took, (size_t)rounds, sizeof *took, ascending);
    double median = took[rounds / 2];
    if (median >= bound) fprintf(stderr, "a cancel took %.2f ms in the median, %.2f at most\n", median, took[rounds - 1]);
    CHECK(median < bound);
    free(took);
}

int main(int argc, char **argv) {
    CHECK(argc == 5);
    control = connect_to(argv[1], "");
    client = connect_to(argv[1], "");
    queue = new_queue();
    a_held_call_ends_once_and_its_request_with_it();
    other_calls_do_not_notice();
    a_cancel_right_after_the_submission_counts_too();
    freeing_the_ticket_lets_the_call_go_on();
    a_result_that_waits_is_not_taken_back();
    a_claimed_item_is_not_taken_back(argv[2]);
    a_call_that_waits_to_try_again_ends_too();
    a_thread_that_waits_is_woken();
    the_completion_comes_at_once(atoi(argv[3]), atof(argv[4]));
    CHECK(antenv_ticket_cancel((antenv_ticket *)(void *)&given_up) == ANTENV_INVALID_HANDLE);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    CHECK(antenv_client_free(client) == ANTENV_OK && antenv_client_free(control) == ANTENV_OK);
    printf("%d requests were given up\n", given_up);
    return 0;
}
