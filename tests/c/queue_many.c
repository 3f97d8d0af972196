/*
 * Very many calls from one thread. argv[1]: the server's URL, argv[2]: how.
 *     held ENVIRONMENT COUNT     polls of that environment, all at once, step by step with lines on standard input:
 *                                submit; stats (prints the client's); collect
 *     load COUNT AT_ONCE         lists environments that often, so many at once
 *     loop ENVIRONMENT COUNT     polls of that environment, of a second each, collected in a loop over epoll; prints how long they took,
 *                                the memory each took, and the threads
 */
#define _GNU_SOURCE
#include "check.h"
#include <sys/epoll.h>

enum { BATCH = 256 };

static char *json;
static antenv_client *client;
static antenv_queue *queue;
static unsigned char *seen;
static antenv_ticket **tickets;

/* Takes what has come, at least one; each tag must come once. */
static size_t collect(size_t count, const char *text) {
    antenv_completion many[BATCH];
    size_t taken;
    CHECK(antenv_queue_next_many(queue, WAIT_MS, many, BATCH, &taken) == ANTENV_OK);
    for (size_t i = 0; i < taken; i++) {
        if (many[i].status != ANTENV_OK) fprintf(stderr, "%s\n", many[i].json);
        CHECK(many[i].status == ANTENV_OK && strstr(many[i].json, text));
        CHECK(many[i].tag < count && seen[many[i].tag]++ == 0);
        antenv_string_free(many[i].json);
    }
    return taken;
}

static void expect_nothing(void) {
    antenv_completion done;
    CHECK(antenv_queue_next(queue, 0, &done) == ANTENV_TIMEOUT);
    CHECK(!is_readable(antenv_queue_fd(queue)));
}

static void held(const char *environment, size_t count) {
    char params[128], line[16];
    snprintf(params, sizeof params, "{\"environment_id\":\"%s\",\"attempt_timeout_ms\":120000}", environment);
    /* The first call makes what all share: the thread, the pool, the queue. */
    EXPECT(antenv_submit(client, queue, "work.poll", params, 0, NULL, &json), ANTENV_OK, NULL);
    CHECK(collect(count, "null") == 1);
    seen[0] = 0;
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "submit\n") == 0) {
            for (size_t i = 0; i < count; i++) {
                EXPECT(antenv_submit(client, queue, "work.poll", params, i, &tickets[i], &json), ANTENV_OK, NULL);
            }
            puts("submitted");
        } else if (strcmp(line, "stats\n") == 0) {
            EXPECT(antenv_client_stats(client, &json), ANTENV_OK, (puts(json), ""));
        } else {
            for (size_t left = count; left > 0; left -= collect(count, "null")) {}
            for (size_t i = 0; i < count; i++) CHECK(antenv_ticket_free(tickets[i]) == ANTENV_OK);
            expect_nothing();
            puts("collected");
        }
    }
}

static void load(size_t count, size_t at_once) {
    size_t begun = 0, ended = 0;
    while (ended < count) {
        for (; begun < count && begun - ended < at_once; begun++) {
            EXPECT(antenv_submit(client, queue, "environments.list", NULL, begun, NULL, &json), ANTENV_OK, NULL);
        }
        ended += collect(count, "\"data\"");
    }
    expect_nothing();
    CHECK(counted(client, NULL, "started") == (long)count && counted(client, NULL, "succeeded") == (long)count);
    puts("load: as it should be");
}

/* Returns a number that the system keeps about this process. */
static long about_process(const char *name) {
    char line[256];
    long number = -1;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) == 0) number = atol(line + strlen(name));
    }
    fclose(file);
    return number;
}

static void loop(const char *environment, size_t count) {
    char params[128];
    struct epoll_event event = {.events = EPOLLIN}, ready;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    long memory = about_process("VmRSS:"), most = 0;
    size_t came = 0;
    /* The call's own deadline is far behind the second that the server waits: many connections have to be made first. */
    snprintf(params, sizeof params, "{\"environment_id\":\"%s\",\"block_ms\":999,\"timeout_ms\":120000}", environment);
    double begun = now_ms();
    for (size_t i = 0; i < count; i++) EXPECT(antenv_submit(client, queue, "work.poll", params, i, NULL, &json), ANTENV_OK, NULL);
    /* What came before the loop began is not missed: the descriptor is readable while it waits. */
    CHECK(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, antenv_queue_fd(queue), &event) == 0);
    while (came < count) {
        CHECK(epoll_wait(epoll, &ready, 1, WAIT_MS) == 1);
        long threads = about_process("Threads:");
        if (threads > most) most = threads;
        came += collect(count, "null"); /* one batch: if there is more, the descriptor stays readable */
    }
    double took = now_ms() - begun;
    CHECK(close(epoll) == 0);
    expect_nothing();
    memory = about_process("VmHWM:") - memory;
    printf("%zu in %.3f s, %.1f KB each, %ld threads\n", came, took / 1e3, (double)memory / (double)count, most);
}

int main(int argc, char **argv) {
    CHECK(argc == 5);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int is_load = strcmp(argv[2], "load") == 0;
    size_t count = (size_t)atol(argv[is_load ? 3 : 4]);
    /* Written to, so that no page of it is counted for the calls. */
    seen = malloc(count), tickets = malloc(count * sizeof *tickets);
    CHECK(seen && tickets);
    memset(seen, 0, count);
    memset(tickets, 0xff, count * sizeof *tickets);
    client = connect_to(argv[1], ",\"max_retries\":5");
    queue = new_queue();
    if (is_load) load(count, (size_t)atol(argv[4]));
    else if (strcmp(argv[2], "loop") == 0) loop(argv[3], count);
    else held(argv[3], count);
    CHECK(antenv_queue_free(queue) == ANTENV_OK && antenv_client_free(client) == ANTENV_OK);
    free(seen);
    free(tickets);
    return 0;
}
