/* Three ways to cancel a long poll: from another thread, too late, and by Ctrl-C.
 *
 * The program presses Ctrl-C itself. If you press it, the program ends cleanly; if you press it twice, immediately.
 *
 * Reads ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL, and ANTHROPIC_ENVIRONMENT_KEY unless the server issues one itself, as the
 * emulator does. Leaves nothing behind. Link with -pthread. */
#define _POSIX_C_SOURCE 200809L
#include "readable.h"
#include <antenv.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

/* What all the scenes share. */
struct stage {
    antenv_client *client; /* has the API key */
    antenv_client *worker; /* has the environment's key, with which it may poll */
    antenv_queue *queue;
    char *environment;
};

/* Set by Ctrl-C. A signal handler may write an atomic, and any thread may read it. */
static atomic_int pressed;

/* Only sets a flag. A handler must not call the library, just as it must not call malloc. */
static void on_ctrl_c(int signal_number) {
    (void)signal_number;
    if (atomic_exchange(&pressed, 1)) _exit(130);
}

/* Returns milliseconds of a monotonic clock. */
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* Begins a poll, which waits for up to a second if there is no work. */
static bool begin_poll(const struct stage *stage, uint64_t tag, antenv_ticket **ticket) {
    char params[256], *error;
    snprintf(params, sizeof params, "{\"environment_id\":\"%s\",\"block_ms\":999}", stage->environment);
    antenv_status status = antenv_submit(stage->worker, stage->queue, "work.poll", params, tag, ticket, &error);
    return succeeded("submitting a poll", status, error);
}

/* Waits for a call's completion. Ctrl-C cancels the call, and its completion still arrives. */
static bool await(antenv_queue *queue, antenv_ticket *ticket, antenv_completion *done) {
    for (;;) {
        /* Not forever (-1): a signal that arrives just before the wait, or in another thread, does not interrupt it. */
        antenv_status status = antenv_queue_next(queue, 100, done);
        if (status == ANTENV_INTERRUPTED) printf("    a signal interrupted the wait\n");
        else if (status != ANTENV_TIMEOUT) return succeeded("collecting", status, NULL);
        if (atomic_load(&pressed)) antenv_ticket_cancel(ticket); /* once is enough; more often is harmless */
    }
}

/* Prints a completion and frees its JSON. Returns whether it has the expected status. */
static bool show(antenv_completion *done, antenv_status expected) {
    bool is_expected = done->status == expected;
    char *what = value_at(done->json, done->status == ANTENV_OK ? "/id" : "/message");
    printf("    completion %d: %s (%s)\n", (int)done->tag, antenv_status_name(done->status), what ? what : "");
    antenv_string_free(what);
    antenv_string_free(done->json);
    return is_expected;
}

/* What a second thread does after a while, and when. */
struct deed {
    antenv_ticket *ticket;
    double at;
};

static void wait_a_while(void) {
    nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
}

static void *cancel_the_call(void *argument) {
    struct deed *deed = argument;
    wait_a_while();
    deed->at = now();
    antenv_ticket_cancel(deed->ticket);
    return NULL;
}

static void *press_ctrl_c(void *argument) {
    struct deed *deed = argument;
    wait_a_while();
    deed->at = now();
    if (!atomic_load(&pressed)) kill(getpid(), SIGINT); /* unless you have just done so */
    return NULL;
}

/* Waits for a poll's completion while another thread has the poll cancelled. */
static bool cancel_meanwhile(const struct stage *stage, uint64_t tag, void *(*how)(void *)) {
    struct deed deed = {0};
    antenv_completion done;
    pthread_t thread;
    double begun = now();
    if (!begin_poll(stage, tag, &deed.ticket)) return false;
    if (pthread_create(&thread, NULL, how, &deed) != 0) {
        fprintf(stderr, "no thread could be created\n");
        antenv_ticket_free(deed.ticket); /* the call itself is cancelled when its queue is freed */
        return false;
    }
    bool has_come = await(stage->queue, deed.ticket, &done);
    double end = now();
    pthread_join(thread, NULL);
    antenv_ticket_free(deed.ticket);
    if (!has_come) return false;
    printf("    after %.0f ms, %.2f ms after the thread did it\n", end - begun, end - deed.at);
    return show(&done, ANTENV_CANCELLED);
}

/* Cancels a poll whose result has arrived already. It is delivered: a claimed work item must not get lost. */
static bool cancel_too_late(const struct stage *stage, uint64_t tag) {
    char params[256], *json;
    antenv_ticket *ticket;
    antenv_completion done;
    struct pollfd watched = {.fd = antenv_queue_fd(stage->queue), .events = POLLIN};

    snprintf(params, sizeof params, "{\"body\":{\"environment_id\":\"%s\",\"agent\":\"agent_cancel\"}}", stage->environment);
    antenv_status status = antenv_request(stage->client, "POST", "/v1/sessions", params, &json);
    if (!succeeded("queueing work", status, json)) return false;
    antenv_string_free(json);

    if (!begin_poll(stage, tag, &ticket)) return false;
    while (poll(&watched, 1, -1) < 0 && errno == EINTR) {} /* readable: the completion waits in the queue */
    antenv_ticket_cancel(ticket);
    bool has_come = await(stage->queue, ticket, &done);
    antenv_ticket_free(ticket);
    return has_come && show(&done, ANTENV_OK); /* a worker would acknowledge the item now and serve it: see tour.c */
}

static bool set_up(struct stage *stage) {
    char *json;
    antenv_status status = antenv_client_new(NULL, &stage->client, &json);
    if (!succeeded("creating a client", status, json)) return false;
    status = antenv_queue_new(&stage->queue, &json);
    if (!succeeded("creating a queue", status, json)) return false;
    stage->environment = create_environment(stage->client, "cancel");
    if (stage->environment) stage->worker = create_worker(stage->client, stage->environment);
    return stage->worker != NULL;
}

/* Takes down whatever was set up: freeing NULL is harmless. */
static bool tear_down(struct stage *stage) {
    bool well = true;
    antenv_queue_free(stage->queue);
    antenv_client_free(stage->worker);
    if (stage->environment) well = delete_environment(stage->client, stage->environment);
    antenv_client_free(stage->client);
    return well;
}

int main(void) {
    struct stage stage = {0};
    struct sigaction action = {.sa_handler = on_ctrl_c};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);

    bool well = set_up(&stage);
    if (well && !atomic_load(&pressed)) {
        printf("another thread cancels\n");
        well = cancel_meanwhile(&stage, 1, cancel_the_call);
    }
    if (well && !atomic_load(&pressed)) {
        printf("too late: the result is there\n");
        well = cancel_too_late(&stage, 2);
    }
    bool was_pressed = atomic_load(&pressed);
    if (well && !was_pressed) {
        printf("Ctrl-C cancels\n");
        well = cancel_meanwhile(&stage, 3, press_ctrl_c);
    }
    well = tear_down(&stage) && well;
    if (was_pressed) {
        printf("ended by Ctrl-C\n");
        return 130; /* 128 + SIGINT, as shells have it */
    }
    return well ? 0 : 1;
}
