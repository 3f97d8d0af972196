/* The smallest worker: takes one item after the other from the work queue of an environment, prints it, and has it stopped.
 *
 *     worker [CONFIG]     such as worker '{"drain":true}', which ends when the queue is empty
 *
 * Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_BASE_URL. on_work.c is a program to put to use. */
#include <antenv.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char *step, char *error) {
    fprintf(stderr, "%s: %s\n", step, error);
    antenv_string_free(error);
    return 1;
}

int main(int argc, char **argv) {
    antenv_client *client;
    antenv_worker *worker;
    antenv_lease *lease;
    antenv_status status;
    char config[512], *json;
    const char *key = getenv("ANTHROPIC_ENVIRONMENT_KEY");

    snprintf(config, sizeof config, "{\"environment_key\":\"%s\"}", key ? key : "");
    if (antenv_client_new(config, &client, &json) != ANTENV_OK) return fail("making a client", json);
    if (antenv_worker_new(client, argc > 1 ? argv[1] : NULL, &worker, &json) != ANTENV_OK) return fail("making a worker", json);

    while ((status = antenv_worker_next(worker, -1, &lease, &json)) == ANTENV_OK) {
        printf("%s\n", json); /* here is the work; meanwhile the library keeps the lease */
        fflush(stdout);
        antenv_string_free(json);
        if (antenv_lease_finish(lease, NULL, &json) != ANTENV_OK) fail("finishing", json);
        else antenv_string_free(json);
    }
    antenv_worker_free(worker);
    antenv_client_free(client);
    return status == ANTENV_DONE ? 0 : fail("waiting for work", json);
}
