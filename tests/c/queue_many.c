/*
 * Very many calls from one thread. argv[1]: the server's URL, argv[2]: how.
 *     held ENVIRONMENT COUNT     polls of that environment, all at once, step by step with lines on standard input:
 *                                submit; stats (prints the client's); collect
 *     load COUNT AT_ONCE         lists environments that often, so many at once
 */
#define _GNU_SOURCE
#include "check.h"

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

int main(int argc, char **argv) {
    CHECK(argc == 5);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int is_held = strcmp(argv[2], "held") == 0;
    size_t count = (size_t)atol(argv[is_held ? 4 : 3]);
    /* Written to, so that no page of it is counted for the calls. */
    seen = malloc(count), tickets = malloc(count * sizeof *tickets);
    CHECK(seen && tickets);
    memset(seen, 0, count);
    memset(tickets, 0xff, count * sizeof *tickets);
    client = connect_to(argv[1], ",\"max_retries\":5");
    queue = new_queue();
    if (is_held) held(argv[3], count);
    else load(count, (size_t)atol(argv[4]));
    CHECK(antenv_queue_free(queue) == ANTENV_OK && antenv_client_free(client) == ANTENV_OK);
    free(seen);
    free(tickets);
    return 0;
}
