/*
 * Shuts the library down at good and bad moments, and starts it again; and leaves the process in the middle of calls.
 *
 * argv[1]: the server's URL; argv[2]: how many rounds of use, or how to leave: return, _exit, exit, exec, signal; argv[3]: "forks",
 * to fork as well: a child leaves alone what its parent had, which a leak checker takes for leaks.
 */
#define _GNU_SOURCE
#include "process.h"

enum { CALLS = 4 };

static antenv_client *client, *control;
static antenv_queue *queue;
static antenv_ticket *tickets[CALLS];
static char *json;

static antenv_status try_to_list(void) {
    char *mine = NULL;
    antenv_status status = antenv_environments_list(client, NULL, &mine);
    CHECK(mine != NULL);
    antenv_string_free(mine);
    return status;
}

static void list(antenv_status expected) {
    CHECK(try_to_list() == expected);
}

static void *block(void *expected) {
    list(*(antenv_status *)expected);
    return NULL;
}

static void submit(void) {
    for (uint64_t i = 0; i < CALLS; i++) {
        EXPECT(antenv_submit(client, queue, "environments.list", NULL, i, &tickets[i], &json), ANTENV_OK, NULL);
    }
}

static void collect(antenv_status expected) {
    for (int i = 0; i < CALLS; i++) {
        antenv_completion done;
        CHECK(antenv_queue_next(queue, WAIT_MS, &done) == ANTENV_OK);
        CHECK(done.status == expected && done.json != NULL);
        antenv_string_free(done.json);
        CHECK(antenv_ticket_free(tickets[i]) == ANTENV_OK);
    }
    antenv_completion done;
    CHECK(antenv_queue_next(queue, 0, &done) == ANTENV_TIMEOUT && !is_readable(antenv_queue_fd(queue)));
}

/* Has the server delay that many lists, makes them, and waits until it does. `control` goes through another pool. */
static void begin(pthread_t *threads, antenv_status *expected, int milliseconds) {
    delay(control, "environments.list", 2 * CALLS, milliseconds);
    for (int i = 0; i < CALLS; i++) CHECK(pthread_create(&threads[i], NULL, block, expected) == 0);
    submit();
    UNTIL(held(control, "environments.list") == 2 * CALLS);
}

static void end(pthread_t *threads, antenv_status expected) {
    for (int i = 0; i < CALLS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    collect(expected);
}

/* The kernel lists a thread a moment longer than its end, which a join waits for. */
static void only_this_thread_is_left(void) {
    UNTIL(threads() == 1);
}

static void nothing_is_left(int files_before) {
    only_this_thread_is_left();
    CHECK(files() == files_before);
}

static void before_any_use(void) {
    CHECK(antenv_shutdown(0) == ANTENV_OK && antenv_shutdown(-1) == ANTENV_OK);
    CHECK(antenv_shutdown(-2) == ANTENV_INVALID_ARGUMENT);
    CHECK(threads() == 1);
}

static void after_use_nothing_is_left(const char *url) {
    client = connect_to(url, "");
    queue = new_queue();
    control = connect_to(url, "");
    CHECK(antenv_shutdown(0) == ANTENV_OK);
    int before = files();
    list(ANTENV_OK);
    submit();
    UNTIL(counted(client, NULL, "in_flight") == 0);
    CHECK(antenv_shutdown(WAIT_MS) == ANTENV_OK);
    nothing_is_left(before);
    CHECK(antenv_shutdown(WAIT_MS) == ANTENV_OK);
    /* What has come before is still there. */
    collect(ANTENV_OK);
    only_this_thread_is_left();
}

static void what_is_in_flight_is_cancelled_when_the_time_is_up(int timeout_ms) {
    pthread_t callers[CALLS];
    antenv_status expected = ANTENV_CANCELLED;
    begin(callers, &expected, 60000);
    double begun = now_ms();
    CHECK(antenv_shutdown(timeout_ms) == ANTENV_TIMEOUT);
    CHECK(now_ms() - begun >= timeout_ms);
    end(callers, ANTENV_CANCELLED);
    only_this_thread_is_left();
    list(ANTENV_OK);
}

/* Whether a thread has shut the library down. */
static atomic_int is_shut_down;

static void *shut_down(void *unused) {
    antenv_status status = antenv_shutdown(-1);
    CHECK(status == ANTENV_OK || status == ANTENV_TIMEOUT);
    atomic_store(&is_shut_down, 1);
    return unused;
}

/* Returns 0 if the server answered before it was clear that the library waits for it: on a busy machine that may happen. */
static int what_is_in_flight_is_waited_for(void) {
    pthread_t callers[CALLS], other;
    antenv_status expected = ANTENV_OK, status;
    antenv_queue *other_queue = new_queue();
    antenv_completion done;
    int before = logged(control, "environments.list", "\"done\":");
    delay(control, "environments.list", 2 * CALLS, 2000);
    for (int i = 0; i < CALLS; i++) CHECK(pthread_create(&callers[i], NULL, block, &expected) == 0);
    submit();
    UNTIL(logged(control, "environments.list", "\"done\":") == before + 2 * CALLS);
    atomic_store(&is_shut_down, 0);
    CHECK(pthread_create(&other, NULL, shut_down, NULL) == 0);
    /* Meanwhile new calls are rejected: nothing is sent, no completion arrives. */
    do {
        status = antenv_submit(client, other_queue, "environments.retrieve", "{\"environment_id\":\"env_1\"}", 77, NULL, &json);
        if (status == ANTENV_OK) {
            CHECK(antenv_queue_next(other_queue, WAIT_MS, &done) == ANTENV_OK && done.tag == 77);
            antenv_string_free(done.json);
        }
    } while (status == ANTENV_OK && !atomic_load(&is_shut_down));
    if (status != ANTENV_OK) EXPECT(status, ANTENV_CLOSED, "shut down");
    int is_rejected = status == ANTENV_CLOSED && try_to_list() == ANTENV_CLOSED;
    CHECK(antenv_shutdown(-1) == ANTENV_OK);
    CHECK(pthread_join(other, NULL) == 0);
    end(callers, ANTENV_OK);
    CHECK(antenv_queue_free(other_queue) == ANTENV_OK);
    return is_rejected;
}

static void the_shorter_timeout_applies(void) {
    pthread_t callers[CALLS], other;
    antenv_status expected = ANTENV_CANCELLED;
    begin(callers, &expected, 60000);
    CHECK(pthread_create(&other, NULL, shut_down, NULL) == 0);
    CHECK(antenv_shutdown(20) == ANTENV_TIMEOUT);
    CHECK(pthread_join(other, NULL) == 0);
    end(callers, ANTENV_CANCELLED);
}

static void a_fork_after_it_serves_both(void) {
    list(ANTENV_OK);
    CHECK(antenv_shutdown(-1) == ANTENV_OK);
    pid_t child = forked();
    list(ANTENV_OK);
    submit();
    collect(ANTENV_OK);
    if (child == 0) {
        CHECK(antenv_shutdown(-1) == ANTENV_OK);
        only_this_thread_is_left();
        _exit(0);
    }
    ends_well(child);
}

static void again_and_again(int rounds) {
    antenv_pager *pager = NULL;
    EXPECT(antenv_pager_new(client, "environments.list", "{\"limit\":1}", &pager, &json), ANTENV_OK, NULL);
    CHECK(antenv_shutdown(-1) == ANTENV_OK);
    int before = files();
    for (int i = 0; i < rounds; i++) {
        list(ANTENV_OK);
        submit();
        collect(ANTENV_OK);
        if (i < 2) EXPECT(antenv_pager_next(pager, &json), ANTENV_OK, "environment");
        CHECK(antenv_shutdown(-1) == ANTENV_OK);
        nothing_is_left(before);
    }
    CHECK(antenv_pager_free(pager) == ANTENV_OK);
}

static void *exit_from_a_thread(void *unused) {
    (void)unused;
    exit(0);
}

/* Leaves with calls in flight, and everything allocated. */
static int leave(const char *url, const char *how) {
    pthread_t callers[CALLS];
    static antenv_status expected = ANTENV_OK;
    client = connect_to(url, ""), control = connect_to(url, ""), queue = new_queue();
    begin(callers, &expected, 60000);
    if (strcmp(how, "_exit") == 0) _exit(0);
    if (strcmp(how, "exit") == 0) CHECK(pthread_create(&callers[0], NULL, exit_from_a_thread, NULL) == 0 && pause());
    if (strcmp(how, "exec") == 0) CHECK(execl("/bin/true", "true", (char *)NULL) == 0);
    if (strcmp(how, "signal") == 0) CHECK(raise(SIGTERM) != 0);
    return 0;
}

int main(int argc, char **argv) {
    CHECK(argc == 3 || argc == 4);
    title = "shutdown";
    bound();
    int rounds = atoi(argv[2]);
    if (rounds == 0) return leave(argv[1], argv[2]);
    before_any_use();
    after_use_nothing_is_left(argv[1]);
    what_is_in_flight_is_cancelled_when_the_time_is_up(0);
    what_is_in_flight_is_cancelled_when_the_time_is_up(50);
    UNTIL(what_is_in_flight_is_waited_for());
    the_shorter_timeout_applies();
    if (argc == 4) a_fork_after_it_serves_both();
    again_and_again(rounds);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    CHECK(antenv_client_free(client) == ANTENV_OK && antenv_client_free(control) == ANTENV_OK);
    puts("shutdown: as it should be");
    return 0;
}
