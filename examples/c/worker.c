/* The smallest worker: serves the work queue of an environment, four items at a time. It prints each item and stops it.
 *
 *     worker [CONFIG]     such as worker '{"concurrency":4,"drain":true}', which ends when the queue is empty
 *
 * Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_BASE_URL. Link with -pthread. */
#include <antenv.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4 };

static int fail(const char *step, char *error) {
    fprintf(stderr, "%s: %s\n", step, error);
    antenv_string_free(error);
    return 1;
}

/* Serves items, one after the other, until there are no more. The other threads do the same. Returns `worker`, or NULL on failure. */
static void *serve(void *worker) {
    antenv_lease *lease;
    antenv_status status;
    char *json;
    while ((status = antenv_worker_next(worker, -1, &lease, &json)) == ANTENV_OK || status == ANTENV_INTERRUPTED) {
        if (status == ANTENV_INTERRUPTED) continue;
        printf("%s\n", json); /* the work goes here; meanwhile the library keeps the lease */
        fflush(stdout);
        antenv_string_free(json);
        if (antenv_lease_finish(lease, NULL, &json) != ANTENV_OK) fail("finishing", json);
        else antenv_string_free(json);
    }
    if (status == ANTENV_DONE) return worker;
    fail("waiting for work", json);
    return NULL;
}

int main(int argc, char **argv) {
    antenv_client *client;
    antenv_worker *worker;
    pthread_t threads[THREADS];
    void *served;
    int begun = 0, failures = 0;
    char config[512], *json;
    const char *key = getenv("ANTHROPIC_ENVIRONMENT_KEY");

    snprintf(config, sizeof config, "{\"environment_key\":\"%s\"}", key ? key : "");
    if (antenv_client_new(config, &client, &json) != ANTENV_OK) return fail("creating a client", json);
    if (antenv_worker_new(client, argc > 1 ? argv[1] : "{\"concurrency\":4}", &worker, &json) != ANTENV_OK) {
        return fail("creating a worker", json);
    }
    while (begun < THREADS && pthread_create(&threads[begun], NULL, serve, worker) == 0) begun++;
    failures += begun < THREADS;
    while (begun > 0) {
        pthread_join(threads[--begun], &served);
        failures += !served;
    }
    antenv_worker_free(worker);
    antenv_client_free(client);
    return failures ? 1 : 0;
}
