/* Serves the sessions of an environment's work queue, one after the other: its agents may call the tool "time" of this program.
 *
 *     session [CONFIG]     such as session '{"drain":true}', which ends when the queue is empty
 *
 * Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_BASE_URL. */
#include <antenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int fail(const char *step, antenv_status status, char *error) {
    fprintf(stderr, "%s: %s\n", step, error ? error : antenv_status_name(status));
    antenv_string_free(error);
    return 1;
}

/* Runs the tool, and replies with what it returns. */
static void serve_call(antenv_tool_call *call, const char *event) {
    char result[128], text[64], *reply;
    time_t now = time(NULL);
    printf("%s\n", event); /* `name` says which tool, `input` what with: see antenv_json_get */
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    snprintf(result, sizeof result, "{\"content\":\"%s\"}", text);
    antenv_status status = antenv_tool_call_reply(call, result, &reply);
    if (status == ANTENV_OK) antenv_string_free(reply);
    else fail("replying", status, reply); /* ANTENV_CANCELLED: a user has interrupted the agent, for example */
}

/* Serves a session until it is over. */
static int serve_session(antenv_lease *lease) {
    antenv_session *session;
    antenv_tool_call *call;
    antenv_status status;
    char *json;
    status = antenv_session_new(lease, "{\"tools\":[\"time\"]}", &session, &json);
    if (status != ANTENV_OK) return fail("serving a session", status, json);
    while ((status = antenv_session_next(session, -1, &call, &json)) == ANTENV_OK || status == ANTENV_INTERRUPTED) {
        if (status == ANTENV_OK) serve_call(call, json);
        antenv_string_free(json);
    }
    antenv_session_free(session);
    if (status != ANTENV_DONE) return fail("waiting for a call", status, json);
    printf("%s\n", json); /* why it is over */
    antenv_string_free(json);
    return 0;
}

int main(int argc, char **argv) {
    antenv_client *client;
    antenv_worker *worker;
    antenv_lease *lease;
    antenv_status status;
    int failures = 0;
    char config[512], *json;
    const char *key = getenv("ANTHROPIC_ENVIRONMENT_KEY");

    snprintf(config, sizeof config, "{\"environment_key\":\"%s\"}", key ? key : "");
    if ((status = antenv_client_new(config, &client, &json)) != ANTENV_OK) return fail("creating a client", status, json);
    status = antenv_worker_new(client, argc > 1 ? argv[1] : NULL, &worker, &json);
    if (status != ANTENV_OK) return fail("creating a worker", status, json);
    while ((status = antenv_worker_next(worker, -1, &lease, &json)) == ANTENV_OK || status == ANTENV_INTERRUPTED) {
        if (status == ANTENV_INTERRUPTED) continue;
        antenv_string_free(json); /* the item, of a session: the worker stops all others itself */
        failures += serve_session(lease);
        status = antenv_lease_finish(lease, NULL, &json);
        if (status == ANTENV_OK) antenv_string_free(json);
        else failures += fail("finishing", status, json);
    }
    failures += status == ANTENV_DONE ? 0 : fail("waiting for work", status, json);
    antenv_worker_free(worker);
    antenv_client_free(client);
    return failures ? 1 : 0;
}
