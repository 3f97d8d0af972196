/*
 * Very many open streams on one queue. argv[1]: the server's URL, whose streams have one event and then nothing; argv[2]: how many.
 * Step by step with lines on standard input: open; close.
 */
#define _GNU_SOURCE
#include "check.h"

enum { BATCH = 256 };

static char *json;
static antenv_client *client;
static antenv_queue *queue;

/* Opens streams with tags from `first`; waits until each is open and has given its event. */
static void open_streams(antenv_stream **streams, size_t first, size_t count) {
    const char *params = "{\"session_id\":\"held\",\"timeout_ms\":300000,\"attempt_timeout_ms\":300000}";
    for (size_t i = first; i < first + count; i++) {
        EXPECT(antenv_stream_submit(client, queue, "sessions.events.stream", params, i, &streams[i], &json), ANTENV_OK, NULL);
    }
    for (size_t left = 2 * count; left > 0;) {
        antenv_completion many[BATCH];
        size_t taken;
        CHECK(antenv_queue_next_many(queue, WAIT_MS, many, BATCH, &taken) == ANTENV_OK);
        for (size_t i = 0; i < taken; i++) {
            if (many[i].status != ANTENV_OK) fprintf(stderr, "%s\n", many[i].json);
            CHECK(many[i].status == ANTENV_OK && many[i].tag >= first && many[i].tag < first + count);
            antenv_string_free(many[i].json);
        }
        left -= taken;
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    setvbuf(stdout, NULL, _IOLBF, 0);
    size_t count = (size_t)atol(argv[2]);
    antenv_stream **streams = malloc((count + 1) * sizeof *streams);
    CHECK(streams != NULL);
    memset(streams, 0xff, (count + 1) * sizeof *streams); /* so that no page of it is counted for the streams */
    char line[16];
    client = connect_to(argv[1], "");
    queue = new_queue();
    /* The first one makes what all share. */
    open_streams(streams, 0, 1);
    puts("ready");
    CHECK(fgets(line, sizeof line, stdin) != NULL);
    for (size_t opened = 1; opened <= count;) {
        size_t batch = count + 1 - opened < 500 ? count + 1 - opened : 500;
        open_streams(streams, opened, batch);
        opened += batch;
    }
    puts("opened");
    CHECK(fgets(line, sizeof line, stdin) != NULL);
    for (size_t i = 0; i <= count; i++) CHECK(antenv_stream_free(streams[i]) == ANTENV_OK);
    puts("closed");
    CHECK(fgets(line, sizeof line, stdin) == NULL);
    CHECK(antenv_queue_free(queue) == ANTENV_OK && antenv_client_free(client) == ANTENV_OK);
    free(streams);
    return 0;
}
