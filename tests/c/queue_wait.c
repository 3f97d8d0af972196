/*
 * Waits for completions while a test does things to the process. argv[1]: how, argv[2]: the server's URL.
 *     next   blocks in antenv_queue_next until a signal comes, then goes on
 *     poll   blocks in poll() on the queue's descriptor until a signal comes, then goes on
 *     late   for each line on standard input: cancels a call that it has submitted before, and prints its status
 */
#define _GNU_SOURCE
#include "check.h"
#include <errno.h>
#include <signal.h>

static char *json;

static void note(int signal) {
    (void)signal;
}

static antenv_ticket *submit(antenv_client *client, antenv_queue *queue) {
    antenv_ticket *ticket = NULL;
    EXPECT(antenv_submit(client, queue, "environments.list", NULL, 1, &ticket, &json), ANTENV_OK, NULL);
    return ticket;
}

static antenv_status take(antenv_queue *queue, size_t *length) {
    antenv_completion done;
    CHECK(antenv_queue_next(queue, -1, &done) == ANTENV_OK && done.tag == 1);
    *length = strlen(done.json);
    antenv_string_free(done.json);
    return done.status;
}

/* Nothing comes but the signal; what is in flight goes on, and is collected afterwards. */
static void be_interrupted(antenv_client *client, antenv_queue *queue, int by_poll) {
    /* Whether system calls are begun again or not: this wait ends. */
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGINT, &action, NULL) == 0);
    antenv_ticket *ticket = submit(client, queue);
    puts("waiting");
    if (by_poll) {
        struct pollfd watched = {.fd = antenv_queue_fd(queue), .events = POLLIN};
        CHECK(poll(&watched, 1, -1) == -1 && errno == EINTR);
    } else {
        antenv_completion done = {.tag = 9};
        CHECK(antenv_queue_next(queue, -1, &done) == ANTENV_INTERRUPTED && done.tag == 0 && done.json == NULL);
    }
    puts("interrupted");
    size_t length;
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_free(ticket) == ANTENV_OK);
    CHECK(take(queue, &length) == ANTENV_CANCELLED);
}

static void be_late(antenv_client *client, antenv_queue *queue) {
    char line[16];
    antenv_ticket *ticket = submit(client, queue);
    while (fgets(line, sizeof line, stdin)) {
        size_t length;
        CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_free(ticket) == ANTENV_OK);
        antenv_status status = take(queue, &length);
        printf("%s %zu\n", antenv_status_name(status), length);
        ticket = submit(client, queue);
    }
    CHECK(antenv_ticket_free(ticket) == ANTENV_OK);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    setvbuf(stdout, NULL, _IOLBF, 0);
    antenv_client *client = connect_to(argv[2], ",\"max_retries\":0");
    antenv_queue *queue = new_queue();
    if (strcmp(argv[1], "late") == 0) be_late(client, queue);
    else be_interrupted(client, queue, strcmp(argv[1], "poll") == 0);
    CHECK(antenv_queue_free(queue) == ANTENV_OK && antenv_client_free(client) == ANTENV_OK);
    return 0;
}
