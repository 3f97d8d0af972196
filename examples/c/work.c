/* What a worker does with an item of work, step by step: claims it, keeps its lease, and stops it. antenv_worker_new does all of this
 * for you, and goes on when something fails: see worker.c.
 *
 * Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_BASE_URL. */
#include "readable.h"
#include <string.h>

/* Extends the lease for another minute. `last` is what the previous heartbeat returned, and is replaced. Returns false when the item is
 * to be stopped or the lease is lost. */
static bool heartbeat(antenv_client *client, const char *environment, const char *item, char **last) {
    char params[256], *json;
    snprintf(params, sizeof params, "{\"expected_last_heartbeat\":\"%s\",\"desired_ttl_seconds\":60}", *last ? *last : "NO_HEARTBEAT");
    antenv_status status = antenv_work_heartbeat(client, environment, item, params, &json);
    /* ANTENV_PRECONDITION_FAILED: another worker's heartbeat came in between. The item is no longer ours: leave it alone. */
    if (!succeeded("sending a heartbeat", status, json)) return false;
    antenv_string_free(*last);
    *last = value_at(json, "/last_heartbeat");
    char *state = value_at(json, "/state");
    bool goes_on = state && strcmp(state, "active") == 0; /* "stopping": the work is to end */
    printf("heartbeat %s: %s\n", *last ? *last : "", state ? state : "");
    antenv_string_free(state);
    antenv_string_free(json);
    return goes_on;
}

/* Acknowledges an item, serves it, and stops it. */
static bool serve(antenv_client *client, const char *environment, const char *item) {
    char *json, *last = NULL;
    antenv_status status = antenv_work_ack(client, environment, item, NULL, &json);
    if (!succeeded("acknowledging the item", status, json)) return false;
    printf("acknowledged: %s\n", json); /* it has left the queue, and goes back if no heartbeat follows */
    antenv_string_free(json);

    bool is_ours = heartbeat(client, environment, item, &last); /* the first one takes the lease */
    for (int step = 1; is_ours && step <= 3; step++) {
        printf("step %d of 3\n", step); /* the work goes here, with a heartbeat well before the minute is over */
        is_ours = heartbeat(client, environment, item, &last);
    }
    antenv_string_free(last);
    if (!is_ours) return false;

    status = antenv_work_stop(client, environment, item, "{\"force\":true}", &json);
    if (!succeeded("stopping the item", status, json)) return false;
    printf("stopped: %s\n", json ? json : "");
    antenv_string_free(json);
    return true;
}

int main(void) {
    const char *environment = getenv("ANTHROPIC_ENVIRONMENT_ID");
    antenv_client *client = environment_client();
    char *json;
    if (!client) return 1;

    antenv_status status = antenv_work_poll(client, environment, "{\"block_ms\":999,\"anthropic_worker_id\":\"step-by-step\"}", &json);
    bool done = succeeded("polling", status, json);
    if (done) {
        char *item = value_at(json, "/id"); /* `secret` holds the token for the item's session: do not print it */
        if (item) done = serve(client, environment, item);
        else puts("the queue is empty"); /* JSON null */
        antenv_string_free(item);
        antenv_string_free(json);
    }
    antenv_client_free(client);
    return done ? 0 : 1;
}
