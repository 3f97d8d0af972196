/*
 * Forks, at bad moments above all: parent and child both go on with what they have, and let go of it.
 *
 * argv[1]: the server's URL; argv[2]: what to try; argv[3]: an environment; argv[4]: how many forks, where there are many. The
 * server has the environments "environment 0" to "environment 6", listed from the last one on.
 */
#define _GNU_SOURCE
#include "process.h"

enum { CALLS = 8, ENVIRONMENTS = 7, LOG_TAG = 7, FIRST_TAG = 100 };

static const char *program, *url;
static int forks;

/* Talks to the server's control endpoints. */
static antenv_client *control;
static antenv_client *client;
static antenv_queue *queue;
static antenv_pager *pager;
/* What a pager gives next. */
static int expected;
/* The environment that calls ask for. */
static char environment[64];
static char *json;

/* Takes the pager's next item, or its end. */
static void step(void) {
    char name[64];
    snprintf(name, sizeof name, "\"name\":\"environment %d\"", expected);
    if (expected < 0) {
        EXPECT(antenv_pager_next(pager, &json), ANTENV_DONE, NULL);
    } else {
        EXPECT(antenv_pager_next(pager, &json), ANTENV_OK, name);
        expected--;
    }
}

static void to_the_end_of_the_pages(void) {
    do step();
    while (expected >= 0);
    step();
}

static void is_empty(antenv_queue *which) {
    antenv_completion done;
    CHECK(!is_readable(antenv_queue_fd(which)));
    CHECK(antenv_queue_next(which, 0, &done) == ANTENV_TIMEOUT);
}

static void submit(uint64_t tag, antenv_ticket **ticket) {
    char params[96];
    snprintf(params, sizeof params, "{\"environment_id\":\"%s\"}", environment);
    EXPECT(antenv_submit(client, queue, "environments.retrieve", params, tag, ticket, &json), ANTENV_OK, NULL);
}

/* Takes a completion of a call that went well; gives its tag. */
static uint64_t collect(void) {
    antenv_completion done;
    antenv_status status;
    do status = antenv_queue_next(queue, -1, &done);
    while (status == ANTENV_INTERRUPTED);
    CHECK(status == ANTENV_OK && done.status == ANTENV_OK);
    CHECK(strstr(done.json, environment) != NULL);
    antenv_string_free(done.json);
    return done.tag;
}

static void retrieve(void) {
    char *mine = NULL;
    CHECK(antenv_environments_retrieve(client, environment, NULL, &mine) == ANTENV_OK);
    CHECK(strstr(mine, environment) != NULL);
    antenv_string_free(mine);
}

static void new_pager(const char *params) {
    expected = ENVIRONMENTS - 1;
    EXPECT(antenv_pager_new(client, "environments.list", params, &pager, &json), ANTENV_OK, NULL);
}

/* Waits until the server holds that many requests. */
static void are_held(const char *operation, int requests) {
    UNTIL(held(control, operation) == requests);
}

/* Releases the requests, all of which are still held. */
static void let_through(const char *operation, int requests) {
    CHECK(held(control, operation) == requests);
    release(control, requests);
}

static void make(void) {
    client = connect_to(url, "");
    EXPECT(antenv_queue_new(&queue, &json), ANTENV_OK, NULL);
    new_pager("{\"limit\":2}");
}

/* A call of each kind. */
static void use(void) {
    antenv_ticket *ticket = NULL;
    retrieve();
    submit(1, &ticket);
    CHECK(collect() == 1);
    is_empty(queue);
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK);
    CHECK(antenv_ticket_free(ticket) == ANTENV_OK);
    step();
}

static void let_go(void) {
    CHECK(antenv_pager_free(pager) == ANTENV_OK);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    CHECK(antenv_client_free(client) == ANTENV_OK);
}

static int stats_say(const char *text) {
    CHECK(antenv_client_stats(client, &json) == ANTENV_OK);
    int is_said = strstr(json, text) != NULL;
    antenv_string_free(json);
    json = NULL;
    return is_said;
}

/* Both go on, side by side. Gives whether this is the child. */
static int both_go_on(pid_t child) {
    use();
    use();
    let_go();
    if (child > 0) ends_well(child);
    return child == 0;
}

/* ---- The cases: each gives whether it is the child that returns. ---- */

static int before_first_use(void) {
    pid_t child = forked();
    make();
    return both_go_on(child);
}

static int before_first_call(void) {
    make();
    pid_t child = forked();
    if (child == 0) CHECK(stats_say("\"started\":0"));
    return both_go_on(child);
}

static int after_calls(void) {
    make();
    use();
    pid_t child = forked();
    if (child == 0) CHECK(stats_say("\"started\":0"));
    return both_go_on(child);
}

static void *call(void *unused) {
    retrieve();
    return unused;
}

static int in_the_middle_of_calls(void) {
    pthread_t callers[CALLS];
    antenv_ticket *tickets[CALLS];
    make();
    use();
    hold(control, "environments.retrieve", 2 * CALLS);
    for (int i = 0; i < CALLS; i++) {
        CHECK(pthread_create(&callers[i], NULL, call, NULL) == 0);
        submit(FIRST_TAG + (uint64_t)i, &tickets[i]);
    }
    are_held("environments.retrieve", 2 * CALLS);
    pid_t child = forked();
    if (child == 0) {
        is_empty(queue);
        for (int i = 0; i < CALLS; i++) CHECK(antenv_ticket_cancel(tickets[i]) == ANTENV_OK);
        CHECK(antenv_shutdown(0) == ANTENV_OK);
        use();
        use();
        /* None of that waited for the parent's calls, or ended them. */
        let_through("environments.retrieve", 2 * CALLS);
        for (int i = 0; i < CALLS; i += 2) CHECK(antenv_ticket_free(tickets[i]) == ANTENV_OK);
        let_go();
        CHECK(antenv_shutdown(-1) == ANTENV_OK);
        return 1;
    }
    step();
    int seen = 0;
    for (int i = 0; i < CALLS; i++) seen |= 1 << (collect() - FIRST_TAG);
    CHECK(seen == (1 << CALLS) - 1);
    is_empty(queue);
    for (int i = 0; i < CALLS; i++) {
        CHECK(pthread_join(callers[i], NULL) == 0);
        CHECK(antenv_ticket_free(tickets[i]) == ANTENV_OK);
    }
    return both_go_on(child);
}

static int while_completions_wait(void) {
    antenv_ticket *ticket;
    make();
    for (int i = 0; i < CALLS; i++) submit(FIRST_TAG + (uint64_t)i, i ? NULL : &ticket);
    UNTIL(is_readable(antenv_queue_fd(queue)) && stats_say("\"in_flight\":0"));
    pid_t child = forked();
    if (child == 0) {
        is_empty(queue);
        use();
        submit(2, NULL);
        UNTIL(is_readable(antenv_queue_fd(queue)));
        CHECK(antenv_ticket_free(ticket) == ANTENV_OK);
        let_go();
        return 1;
    }
    ends_well(child);
    CHECK(is_readable(antenv_queue_fd(queue)));
    int seen = 0;
    for (int i = 0; i < CALLS; i++) seen |= 1 << (collect() - FIRST_TAG);
    CHECK(seen == (1 << CALLS) - 1);
    is_empty(queue);
    CHECK(antenv_ticket_free(ticket) == ANTENV_OK);
    use();
    let_go();
    return 0;
}

static int while_a_page_is_on_its_way(void) {
    make();
    /* The first page comes; the second is held, while an item of the first is left. */
    delay(control, "environments.list", 1, 1);
    hold(control, "environments.list", 1);
    step();
    are_held("environments.list", 1);
    pid_t child = forked();
    to_the_end_of_the_pages();
    if (child == 0) let_through("environments.list", 1);
    let_go();
    if (child > 0) ends_well(child);
    return child == 0;
}

/* What a thread that shares the pager got. */
static void *take(void *item) {
    CHECK(antenv_pager_next(pager, item) == ANTENV_OK);
    return NULL;
}

static int while_threads_wait_for_a_page(void) {
    pthread_t takers[2];
    char *items[2];
    make();
    hold(control, "environments.list", 1);
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&takers[i], NULL, take, &items[i]) == 0);
    are_held("environments.list", 1);
    pid_t child = forked();
    if (child == 0) {
        to_the_end_of_the_pages();
        let_through("environments.list", 1);
        let_go();
        return 1;
    }
    for (int i = 0; i < 2; i++) CHECK(pthread_join(takers[i], NULL) == 0);
    int first = strstr(items[0], "\"environment 6\"") == NULL;
    CHECK(strstr(items[first], "\"environment 6\"") && strstr(items[!first], "\"environment 5\""));
    for (int i = 0; i < 2; i++) antenv_string_free(items[i]);
    expected -= 2;
    to_the_end_of_the_pages();
    let_go();
    ends_well(child);
    return 0;
}

/* Takes the log records that are there; gives whether one has this text. */
static int is_recorded(antenv_queue *log, const char *text) {
    antenv_completion record;
    int found = 0;
    while (antenv_queue_next(log, 0, &record) == ANTENV_OK) {
        CHECK(record.tag == LOG_TAG && record.status == ANTENV_OK);
        found |= strstr(record.json, text) != NULL;
        antenv_string_free(record.json);
    }
    return found;
}

static int while_subscribed_to_the_log(void) {
    antenv_queue *log;
    EXPECT(antenv_queue_new(&log, &json), ANTENV_OK, NULL);
    EXPECT(antenv_log_subscribe(log, "debug", LOG_TAG, &json), ANTENV_OK, NULL);
    make();
    retrieve();
    CHECK(is_recorded(log, "\"call done\""));
    retrieve();
    pid_t child = forked();
    if (child == 0) {
        is_empty(log);
        retrieve();
        /* The library's thread, and a call: the child's own. */
        UNTIL(is_readable(antenv_queue_fd(log)));
        antenv_completion record;
        CHECK(antenv_queue_next(log, 0, &record) == ANTENV_OK);
        CHECK(strstr(record.json, "\"started\"") != NULL);
        antenv_string_free(record.json);
        CHECK(is_recorded(log, "\"call done\""));
        EXPECT(antenv_log_subscribe(log, "off", LOG_TAG, &json), ANTENV_OK, NULL);
        retrieve();
        is_empty(log);
    } else {
        ends_well(child);
        CHECK(is_recorded(log, "\"call done\""));
        is_empty(log);
        retrieve();
        CHECK(is_recorded(log, "\"call done\""));
    }
    CHECK(antenv_queue_free(log) == ANTENV_OK);
    let_go();
    return child == 0;
}

static int three_generations(void) {
    pid_t child = 0;
    make();
    int generation = 0;
    while (generation < 3 && child == 0) {
        use();
        child = forked();
        generation += child == 0;
    }
    use();
    if (child > 0) {
        ends_well(child);
        /* Whatever the child did, and closed at its end, nothing of it was this one's. */
        retrieve();
        submit(3, NULL);
        CHECK(collect() == 3);
    }
    let_go();
    return generation > 0;
}

static int many(void) {
    make();
    use();
    int open = files(), running = threads();
    for (int i = 0; i < forks; i++) {
        pid_t child = forked();
        if (child == 0) {
            retrieve();
            _exit(0);
        }
        if (i % 16 == 0) retrieve();
        ends_well(child);
    }
    use();
    /* A connection more or less is a matter of timing; one for each fork would be a leak. */
    CHECK(files() < open + 6 && threads() == running);
    let_go();
    return 0;
}

/* Ends this process, the fork's child, in one way or another. */
static void leave(int how) {
    if (how == 0) _exit(0);
    if (how == 1) exit(0);
    if (how == 2) execl(program, program, "executed", (char *)NULL);
    CHECK(how == 3);
}

static int leaving_at_once(void) {
    pthread_t callers[CALLS];
    make();
    use();
    hold(control, "environments.retrieve", CALLS + 1);
    for (int i = 0; i < CALLS; i++) CHECK(pthread_create(&callers[i], NULL, call, NULL) == 0);
    submit(4, NULL);
    are_held("environments.retrieve", CALLS + 1);
    for (int how = 0; how < 4; how++) {
        pid_t child = forked();
        if (child == 0) {
            leave(how);
            return 1;
        }
        ends_well(child);
    }
    let_through("environments.retrieve", CALLS + 1);
    for (int i = 0; i < CALLS; i++) CHECK(pthread_join(callers[i], NULL) == 0);
    CHECK(collect() == 4);
    use();
    let_go();
    return 0;
}

/* ---- Forks while threads do everything at once ---- */

static atomic_int is_over;

static void *hammer(void *unused) {
    while (!atomic_load(&is_over)) {
        char *mine = NULL;
        antenv_client *derived;
        antenv_queue *own;
        antenv_ticket *tickets[2];
        antenv_pager *pages;
        CHECK(antenv_client_derive(client, "{\"max_retries\":1}", &derived, &mine) == ANTENV_OK);
        CHECK(antenv_queue_new(&own, &mine) == ANTENV_OK);
        CHECK(antenv_log_subscribe(own, "trace", LOG_TAG, &mine) == ANTENV_OK);
        for (int i = 0; i < 2; i++)
            CHECK(antenv_submit(derived, own, "environments.list", NULL, 1, &tickets[i], &mine) == ANTENV_OK);
        CHECK(antenv_ticket_cancel(tickets[0]) == ANTENV_OK);
        for (int calls = 0; calls < 2;) {
            antenv_completion done;
            CHECK(antenv_queue_next(own, -1, &done) == ANTENV_OK);
            CHECK(done.status == ANTENV_OK || done.status == ANTENV_CANCELLED);
            antenv_string_free(done.json);
            calls += done.tag == 1;
        }
        CHECK(antenv_submit(derived, own, "environments.list", NULL, 1, NULL, &mine) == ANTENV_OK);
        CHECK(antenv_pager_new(derived, "environments.list", "{\"limit\":1}", &pages, &mine) == ANTENV_OK);
        CHECK(antenv_client_free(derived) == ANTENV_OK);
        for (int i = 0; i < 2; i++) {
            CHECK(antenv_pager_next(pages, &mine) == ANTENV_OK);
            antenv_string_free(mine);
            CHECK(antenv_ticket_free(tickets[i]) == ANTENV_OK);
        }
        CHECK(antenv_pager_free(pages) == ANTENV_OK);
        CHECK(antenv_queue_free(own) == ANTENV_OK);
        CHECK(antenv_client_stats(client, &mine) == ANTENV_OK);
        antenv_string_free(mine);
    }
    return unused;
}

static void *fork_often(void *unused) {
    for (int i = 0; i < forks / 2; i++) {
        pid_t child = forked();
        if (child == 0) {
            use();
            let_go();
            CHECK(antenv_shutdown(-1) == ANTENV_OK);
            _exit(0);
        }
        ends_well(child);
    }
    return unused;
}

static int while_threads_do_everything(void) {
    pthread_t hammers[4], forkers[2];
    make();
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&hammers[i], NULL, hammer, NULL) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&forkers[i], NULL, fork_often, NULL) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(forkers[i], NULL) == 0);
    atomic_store(&is_over, 1);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(hammers[i], NULL) == 0);
    use();
    let_go();
    return 0;
}

static const struct {
    const char *title;
    int (*run)(void);
    /* Whether the library may have been used already. */
    int needs_control;
} CASES[] = {
    {"before first use", before_first_use, 0},
    {"before first call", before_first_call, 0},
    {"after calls", after_calls, 0},
    {"in the middle of calls", in_the_middle_of_calls, 1},
    {"while completions wait", while_completions_wait, 0},
    {"while a page is on its way", while_a_page_is_on_its_way, 1},
    {"while threads wait for a page", while_threads_wait_for_a_page, 1},
    {"while subscribed to the log", while_subscribed_to_the_log, 0},
    {"three generations", three_generations, 0},
    {"many", many, 0},
    {"leaving at once", leaving_at_once, 1},
    {"while threads do everything", while_threads_do_everything, 0},
};

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "executed") == 0) {
        /* Nothing of the library's comes along. */
        CHECK(files() == 3 && threads() == 1);
        return 0;
    }
    CHECK(argc == 5);
    program = argv[0], url = argv[1], title = argv[2];
    snprintf(environment, sizeof environment, "%s", argv[3]);
    forks = atoi(argv[4]);
    bound();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        if (strcmp(CASES[i].title, title) != 0) continue;
        if (CASES[i].needs_control) control = connect_to(url, "");
        if (CASES[i].run()) return 0;
        CHECK(!CASES[i].needs_control || antenv_client_free(control) == ANTENV_OK);
        printf("fork %s: as it should be\n", title);
        return 0;
    }
    fprintf(stderr, "there is no case %s\n", title);
    return 1;
}
