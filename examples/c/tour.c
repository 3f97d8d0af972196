/* A tour of the fourteen operations on environments and work: the life of a self-hosted environment and of an item of work in it.
 *
 * Reads ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL, and ANTHROPIC_ENVIRONMENT_KEY unless the server issues one itself, as the emulator
 * does. Leaves nothing behind. */
#include "readable.h"
#include <antenv.h>

static int failures;

/* Prints what was done and its result, and frees that unless `keep` wants it. */
static void show(const char *title, const char *why, antenv_status status, antenv_status expected, char *json, char **keep) {
    printf("\n%s: %s\n    -> %s\n", title, why, antenv_status_name(status));
    if (json) printf("    %s\n", json);
    if (status != expected) failures++;
    if (keep) *keep = json;
    else antenv_string_free(json);
}

/* The worker's side: poll, acknowledge, heartbeat, stop. */
static void serve(antenv_client *client, antenv_client *worker, const char *environment) {
    antenv_status status;
    char params[256], *json, *item, *work, *beat;

    status = antenv_work_stats(worker, environment, NULL, &json);
    show("Get Queue Statistics", "one item waits", status, ANTENV_OK, json, NULL);

    status = antenv_work_poll(worker, environment, "{\"block_ms\":999,\"anthropic_worker_id\":\"tour-1\"}", &json);
    show("Poll for Work", "claim it; `secret` holds the token for its session", status, ANTENV_OK, json, &item);
    work = value_at(item, "/id");
    antenv_string_free(item);

    status = antenv_work_ack(worker, environment, work, NULL, &json);
    show("Acknowledge Work", "it leaves the queue", status, ANTENV_OK, json, NULL);

    status = antenv_work_heartbeat(worker, environment, work, "{\"expected_last_heartbeat\":\"NO_HEARTBEAT\"}", &json);
    show("Record Heartbeat", "the first one takes the lease", status, ANTENV_OK, json, &item);
    beat = value_at(item, "/last_heartbeat");
    antenv_string_free(item);

    snprintf(params, sizeof params, "{\"expected_last_heartbeat\":\"%s\",\"desired_ttl_seconds\":60}", beat ? beat : "");
    status = antenv_work_heartbeat(worker, environment, work, params, &json);
    show("Record Heartbeat", "the next one echoes the reply before", status, ANTENV_OK, json, NULL);

    status = antenv_work_heartbeat(worker, environment, work, params, &json);
    show("Record Heartbeat", "the same again: `details.current_state` says why", status, ANTENV_PRECONDITION_FAILED, json, NULL);

    status = antenv_work_list(worker, environment, "{\"limit\":10}", &json);
    show("List Work Items", "the item is active", status, ANTENV_OK, json, NULL);

    status = antenv_work_update(client, environment, work, "{\"metadata\":{\"step\":\"2 of 3\"}}", &json);
    show("Update Work Item", "note something on it", status, ANTENV_OK, json, NULL);

    status = antenv_work_retrieve(client, environment, work, NULL, &json);
    show("Get Work Item", "and read it back", status, ANTENV_OK, json, NULL);

    status = antenv_work_stop(worker, environment, work, "{\"force\":true}", &json);
    show("Stop Work", "done", status, ANTENV_OK, json, NULL);

    status = antenv_work_poll(worker, environment, NULL, &json);
    show("Poll for Work", "nothing is left: JSON null", status, ANTENV_OK, json, NULL);
    antenv_string_free(beat);
    antenv_string_free(work);
}

int main(void) {
    antenv_client *client, *worker;
    antenv_status status;
    char params[256], *json, *environment;

    if (antenv_client_new("{\"timeout_ms\":30000}", &client, &json) != ANTENV_OK) {
        show("A client", "could not be created", ANTENV_CONFIG, ANTENV_OK, json, NULL);
        return 1;
    }
    printf("antenv %s\n", antenv_version());

    status = antenv_environments_create(
        client, "{\"name\":\"tour\",\"description\":\"for a moment\",\"config\":{\"type\":\"self_hosted\"},\"metadata\":{\"team\":\"blue\"}}", &json);
    show("Create Environment", "one that we host ourselves", status, ANTENV_OK, json, &json);
    environment = value_at(json, "/id");
    antenv_string_free(json);

    status = antenv_environments_retrieve(client, environment, NULL, &json);
    show("Get Environment", "as it is", status, ANTENV_OK, json, NULL);

    status = antenv_environments_update(client, environment, "{\"metadata\":{\"team\":null,\"tier\":\"gold\"},\"description\":null}", &json);
    show("Update Environment", "metadata is merged, null clears, the rest stays", status, ANTENV_OK, json, NULL);

    status = antenv_environments_list(client, "{\"limit\":1}", &json);
    show("List Environments", "one page; a pager walks through all", status, ANTENV_OK, json, NULL);

    snprintf(params, sizeof params, "{\"body\":{\"environment_id\":\"%s\",\"agent\":\"agent_tour\"}}", environment ? environment : "");
    status = antenv_request(client, "POST", "/v1/sessions", params, &json);
    show("Any other endpoint", "a session queues an item of work", status, ANTENV_OK, json, NULL);

    worker = environment ? create_worker(client, environment) : NULL;
    if (worker) serve(client, worker, environment);
    else failures++;
    antenv_client_free(worker);

    status = antenv_environments_archive(client, environment, NULL, &json);
    show("Archive Environment", "no new sessions", status, ANTENV_OK, json, NULL);

    status = antenv_environments_update(client, environment, "{\"name\":\"too late\"}", &json);
    show("Update Environment", "an archived one refuses: `error_code` says why", status, ANTENV_BAD_REQUEST, json, NULL);

    status = antenv_environments_delete(client, environment, NULL, &json);
    show("Delete Environment", "gone", status, ANTENV_OK, json, NULL);

    status = antenv_environments_retrieve(client, environment, NULL, &json);
    show("Get Environment", "it is not there any more", status, ANTENV_NOT_FOUND, json, NULL);

    antenv_string_free(environment);
    antenv_client_free(client);
    if (failures) printf("\n%d steps had unexpected results\n", failures);
    else printf("\nall as it should be\n");
    return failures ? 1 : 0;
}
