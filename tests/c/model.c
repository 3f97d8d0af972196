/*
 * A model of the queue: threads do everything that can be done with it, in an order that a seed decides, and in the end each call
 * that was accepted has had exactly one completion.
 *
 * argv[1]: the server's URL; argv[2]: the seed; argv[3]: how many steps each thread makes; argv[4]: whether they fork.
 */
#define _GNU_SOURCE
#include "process.h"

enum { THREADS = 4, MAX_CALLS = 1 << 16, HELD_TICKETS = 8, ROUNDS = 3 };

static unsigned long seed;
static int steps, do_fork;
static antenv_client *client;
/* All threads submit to it and drain it. Each round has a new one. */
static antenv_queue *shared;
/* How often the completion of each accepted call has come, by tag. */
static atomic_int came[MAX_CALLS];
static atomic_int accepted[MAX_CALLS];
static atomic_uint next_tag;
static pthread_barrier_t barrier;
static atomic_int forking;

static unsigned random_of(unsigned *state, unsigned below) {
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % below;
}

static void note(const antenv_completion *done) {
    CHECK(done->tag < MAX_CALLS && done->json != NULL);
    /* ANTENV_RESPONSE: the server dropped the connection between a head and its body, which others are sharing. */
    CHECK(done->status == ANTENV_OK || done->status == ANTENV_CANCELLED || done->status == ANTENV_CONNECTION ||
          done->status == ANTENV_RESPONSE || done->status == ANTENV_SERVER_ERROR || done->status == ANTENV_TIMEOUT);
    atomic_fetch_add(&came[done->tag], 1);
    antenv_string_free(done->json);
}

static void drain(antenv_queue *queue, int64_t timeout_ms, size_t capacity) {
    antenv_completion done[16];
    size_t count = 99;
    antenv_status status = antenv_queue_next_many(queue, timeout_ms, done, capacity, &count);
    CHECK(status == ANTENV_OK ? count >= 1 && count <= capacity : count == 0);
    CHECK(status == ANTENV_OK || status == ANTENV_TIMEOUT || status == ANTENV_INTERRUPTED);
    for (size_t i = 0; i < count; i++) note(&done[i]);
}

static void submit(antenv_client *through, antenv_queue *queue, antenv_ticket **ticket) {
    char *error = NULL;
    unsigned tag = atomic_fetch_add(&next_tag, 1);
    CHECK(tag < MAX_CALLS);
    /* Before the call: its completion may be there before the function returns. */
    atomic_store(&accepted[tag], 1);
    CHECK(antenv_submit(through, queue, "environments.list", "{\"limit\":1}", tag, ticket, &error) == ANTENV_OK);
    CHECK(error == NULL);
}

static void submit_what_is_refused(antenv_queue *queue) {
    char *error = NULL;
    antenv_ticket *ticket = (antenv_ticket *)(void *)&error;
    CHECK(antenv_submit(client, queue, "environments.list", "{\"limit\":\"many\"}", MAX_CALLS + 1, &ticket, &error) ==
          ANTENV_INVALID_ARGUMENT);
    CHECK(ticket == NULL && error != NULL);
    antenv_string_free(error);
}

/* A queue of this thread's own, freed with calls in flight and completions waiting: nothing of it is ever seen again. */
static void use_and_free_a_queue(unsigned *state) {
    antenv_queue *own = new_queue();
    antenv_completion done;
    char *error = NULL;
    int calls = 1 + (int)random_of(state, 3);
    for (int i = 0; i < calls; i++) {
        CHECK(antenv_submit(client, own, "environments.list", NULL, MAX_CALLS + 2, NULL, &error) == ANTENV_OK);
    }
    if (random_of(state, 2)) {
        antenv_status status = antenv_queue_next(own, (int64_t)random_of(state, 3), &done);
        CHECK(status == ANTENV_OK || status == ANTENV_TIMEOUT);
        if (status == ANTENV_OK) antenv_string_free(done.json);
    }
    CHECK(antenv_queue_free(own) == ANTENV_OK);
    CHECK(antenv_queue_next(own, 0, &done) == ANTENV_INVALID_HANDLE);
}

static void go_through_another_client(void) {
    antenv_client *derived = NULL;
    char *error = NULL;
    CHECK(antenv_client_derive(client, "{\"max_retries\":0}", &derived, &error) == ANTENV_OK);
    submit(derived, shared, NULL);
    CHECK(antenv_client_free(derived) == ANTENV_OK);
}

/* The child begins with an empty queue, and can use it; the parent does not notice. */
static void fork_a_child(void) {
    /* One at a time is enough: another test forks from several threads at once. */
    if (atomic_exchange(&forking, 1)) return;
    pid_t child = forked();
    if (child == 0) {
        antenv_completion done;
        char *error = NULL;
        CHECK(antenv_queue_next(shared, 0, &done) == ANTENV_TIMEOUT);
        CHECK(!is_readable(antenv_queue_fd(shared)));
        CHECK(antenv_submit(client, shared, "environments.list", NULL, 1, NULL, &error) == ANTENV_OK);
        CHECK(antenv_queue_next(shared, -1, &done) == ANTENV_OK && done.tag == 1);
        CHECK(antenv_queue_next(shared, 0, &done) == ANTENV_TIMEOUT);
        _exit(0);
    }
    ends_well(child);
    atomic_store(&forking, 0);
}

static void *act(void *number) {
    unsigned state = (unsigned)(seed * 7919u + (unsigned long)(size_t)number);
    antenv_ticket *tickets[HELD_TICKETS] = {NULL};
    for (int round = 0; round < ROUNDS; round++) {
        for (int step = 0; step < steps / ROUNDS; step++) {
            antenv_ticket **ticket = &tickets[random_of(&state, HELD_TICKETS)];
            switch (random_of(&state, 16)) {
            case 0: case 1: case 2: case 3:
                /* Freeing NULL, too, or a ticket whose call goes on. */
                antenv_ticket_free(*ticket);
                submit(client, shared, ticket);
                break;
            case 4:
                antenv_ticket_free(*ticket);
                submit(client, shared, ticket);
                CHECK(antenv_ticket_cancel(*ticket) == ANTENV_OK);
                break;
            case 5: case 6:
                CHECK(antenv_ticket_cancel(*ticket) == (*ticket ? ANTENV_OK : ANTENV_INVALID_HANDLE));
                break;
            case 7: {
                antenv_ticket *freed = *ticket;
                antenv_ticket_free(freed);
                CHECK(antenv_ticket_cancel(freed) == ANTENV_INVALID_HANDLE);
                *ticket = NULL;
                break;
            }
            case 8: case 9: case 10:
                drain(shared, (int64_t)random_of(&state, 4), 1 + random_of(&state, 16));
                break;
            case 11:
                drain(shared, 0, 1);
                break;
            case 12:
                submit_what_is_refused(shared);
                break;
            case 13:
                use_and_free_a_queue(&state);
                break;
            case 14:
                go_through_another_client();
                break;
            default:
                if (do_fork && random_of(&state, 40) == 0) fork_a_child();
                else is_readable(antenv_queue_fd(shared));
            }
        }
        pthread_barrier_wait(&barrier);
        /* Now the first thread looks whether all is as it should be, and the others wait. */
        pthread_barrier_wait(&barrier);
    }
    for (int i = 0; i < HELD_TICKETS; i++) antenv_ticket_free(tickets[i]);
    return NULL;
}

/* Nothing new is submitted now. All that was accepted comes, once; the descriptor shows at each step whether something waits. */
static void settle(void) {
    unsigned tags = atomic_load(&next_tag);
    for (unsigned tag = 0; tag < tags; tag++) {
        while (atomic_load(&came[tag]) < atomic_load(&accepted[tag])) {
            antenv_completion done;
            int fd = antenv_queue_fd(shared);
            int was_readable = is_readable(fd);
            antenv_status status = antenv_queue_next(shared, 0, &done);
            /* A completion may come between the two looks; none goes. */
            CHECK(!was_readable || status == ANTENV_OK);
            if (status != ANTENV_OK) {
                CHECK(status == ANTENV_TIMEOUT);
                status = antenv_queue_next(shared, WAIT_MS, &done);
            }
            if (status != ANTENV_OK) fprintf(stderr, "seed %lu: call %u of %u never came\n", seed, tag, tags);
            CHECK(status == ANTENV_OK);
            note(&done);
        }
    }
    for (unsigned tag = 0; tag < tags; tag++) {
        if (atomic_load(&came[tag]) != atomic_load(&accepted[tag])) fprintf(stderr, "seed %lu: call %u twice\n", seed, tag);
        CHECK(atomic_load(&came[tag]) == atomic_load(&accepted[tag]));
    }
    antenv_completion done;
    CHECK(!is_readable(antenv_queue_fd(shared)));
    CHECK(antenv_queue_next(shared, 0, &done) == ANTENV_TIMEOUT);
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS];
    CHECK(argc == 5);
    title = "model";
    bound();
    seed = strtoul(argv[2], NULL, 10), steps = atoi(argv[3]), do_fork = atoi(argv[4]);
    client = connect_to(argv[1], ",\"max_retries\":1");
    shared = new_queue();
    CHECK(pthread_barrier_init(&barrier, NULL, THREADS + 1) == 0);
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, act, (void *)i) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&barrier);
        settle();
        CHECK(antenv_queue_free(shared) == ANTENV_OK);
        shared = new_queue();
        pthread_barrier_wait(&barrier);
    }
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(antenv_queue_free(shared) == ANTENV_OK && antenv_client_free(client) == ANTENV_OK);
    CHECK(antenv_shutdown(-1) == ANTENV_OK);
    puts("model: as it should be");
    return 0;
}
