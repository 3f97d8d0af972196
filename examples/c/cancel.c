/* Waits for an item of work until there is one, or Ctrl-C cancels the wait.
 *
 * Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_BASE_URL. Prints the item, and leaves it to the queue. */
#define _POSIX_C_SOURCE 200809L
#include "readable.h"
#include <signal.h>

static volatile sig_atomic_t pressed;

/* Sets a flag, and no more: a handler must not call the library, just as it must not call malloc. */
static void on_ctrl_c(int signal_number) {
    (void)signal_number;
    pressed = 1;
}

/* Waits for the call's completion. Ctrl-C cancels the call, whose completion then arrives at once. */
static bool await(antenv_queue *queue, antenv_ticket *ticket, antenv_completion *done) {
    for (;;) {
        /* Not forever (-1): a signal that arrives just before the wait does not interrupt it. */
        antenv_status status = antenv_queue_next(queue, 100, done);
        if (status != ANTENV_TIMEOUT && status != ANTENV_INTERRUPTED) return succeeded("waiting", status, NULL);
        if (pressed) antenv_ticket_cancel(ticket); /* once is enough; more often is harmless */
    }
}

/* Polls until an item comes, and prints it. Returns the status of the last poll. */
static antenv_status wait_for_work(antenv_client *client, antenv_queue *queue) {
    const char *environment = getenv("ANTHROPIC_ENVIRONMENT_ID");
    char params[256], *error;
    antenv_ticket *ticket;
    antenv_completion done;
    bool is_empty = true;
    snprintf(params, sizeof params, "{\"environment_id\":\"%s\",\"block_ms\":999}", environment ? environment : "");
    while (is_empty) {
        antenv_status status = antenv_submit(client, queue, "work.poll", params, 0, &ticket, &error);
        if (!succeeded("submitting a poll", status, error)) return status;
        bool has_come = await(queue, ticket, &done);
        antenv_ticket_free(ticket);
        if (!has_come) return ANTENV_INTERNAL;
        /* The result of a poll that was quicker than its cancellation is not lost: it comes with ANTENV_OK. */
        char *item = done.status == ANTENV_OK ? value_at(done.json, "/id") : NULL;
        if (item) printf("%s\n", item);
        else if (done.status != ANTENV_OK) fprintf(stderr, "polling: %s\n", done.json);
        is_empty = done.status == ANTENV_OK && !item && !pressed;
        antenv_string_free(item);
        antenv_string_free(done.json);
    }
    return pressed ? ANTENV_CANCELLED : done.status;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_ctrl_c, .sa_flags = SA_RESETHAND}; /* a second Ctrl-C ends the program at once */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);

    antenv_client *client = environment_client();
    antenv_queue *queue;
    char *error;
    if (!client) return 1;
    antenv_status status = antenv_queue_new(&queue, &error);
    if (!succeeded("creating a queue", status, error)) return 1;
    status = wait_for_work(client, queue);
    antenv_queue_free(queue);
    antenv_client_free(client);
    if (status == ANTENV_CANCELLED) return 130; /* 128 + SIGINT, as shells have it */
    return status == ANTENV_OK ? 0 : 1;
}
