/*
 * Calls each of the fourteen functions for environments and work, over the life of an environment and of an item in it. argv[1]: the
 * server's URL.
 */
#include "check.h"

static char *json;

/* Returns what is at a JSON pointer, to be freed with antenv_string_free, of the result of a call that must succeed, which it frees. */
static char *taken(antenv_status status, const char *pointer) {
    char *value = NULL;
    if (status != ANTENV_OK) fprintf(stderr, "%s\n", json ? json : "no error");
    CHECK(status == ANTENV_OK && antenv_json_get(json, pointer, &value) == ANTENV_OK);
    antenv_string_free(json);
    json = NULL;
    return value;
}

/* Makes a client that has the environment's key besides, as its work takes it. */
static antenv_client *with_key(antenv_client *client, const char *environment) {
    char params[512];
    antenv_client *worker;
    snprintf(params, sizeof params, "{\"body\":{\"environment_id\":\"%s\"}}", environment);
    char *key = taken(antenv_request(client, "POST", "/_emulator/environment_keys", params, &json), "/environment_key");
    snprintf(params, sizeof params, "{\"environment_key\":\"%s\"}", key);
    EXPECT(antenv_client_derive(client, params, &worker, &json), ANTENV_OK, NULL);
    antenv_string_free(key);
    return worker;
}

static void serve(antenv_client *client, antenv_client *worker, const char *environment) {
    char params[256];
    snprintf(params, sizeof params, "{\"body\":{\"environment_id\":\"%s\",\"agent\":\"agent_1\"}}", environment);
    EXPECT(antenv_request(client, "POST", "/v1/sessions", params, &json), ANTENV_OK, "\"type\":\"session\"");
    EXPECT(antenv_work_stats(worker, environment, NULL, &json), ANTENV_OK, "\"depth\":1");
    char *item = taken(antenv_work_poll(worker, environment, "{\"block_ms\":999,\"anthropic_worker_id\":\"w\"}", &json), "/id");
    EXPECT(antenv_work_ack(worker, environment, item, NULL, &json), ANTENV_OK, "\"starting\"");

    char *beat = taken(
        antenv_work_heartbeat(worker, environment, item, "{\"expected_last_heartbeat\":\"NO_HEARTBEAT\"}", &json), "/last_heartbeat");
    snprintf(params, sizeof params, "{\"expected_last_heartbeat\":\"%s\",\"desired_ttl_seconds\":60}", beat);
    EXPECT(antenv_work_heartbeat(worker, environment, item, params, &json), ANTENV_OK, "\"ttl_seconds\":60");
    EXPECT(antenv_work_heartbeat(worker, environment, item, params, &json), ANTENV_PRECONDITION_FAILED, "current_state");

    EXPECT(antenv_work_list(worker, environment, "{\"limit\":10}", &json), ANTENV_OK, "\"active\"");
    EXPECT(antenv_work_update(client, environment, item, "{\"metadata\":{\"step\":\"2 of 3\"}}", &json), ANTENV_OK, "2 of 3");
    EXPECT(antenv_work_retrieve(client, environment, item, NULL, &json), ANTENV_OK, "2 of 3");
    EXPECT(antenv_work_stop(worker, environment, item, "{\"force\":true}", &json), ANTENV_OK, item);
    EXPECT(antenv_work_poll(worker, environment, NULL, &json), ANTENV_OK, "null");
    antenv_string_free(beat);
    antenv_string_free(item);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    antenv_client *client = connect_to(argv[1], "");
    char *id = taken(antenv_environments_create(client,
        "{\"name\":\"blue\",\"description\":\"one\",\"config\":{\"type\":\"self_hosted\"},\"metadata\":{\"team\":\"red\"}}", &json), "/id");
    EXPECT(antenv_environments_retrieve(client, id, NULL, &json), ANTENV_OK, "\"team\":\"red\"");
    EXPECT(antenv_environments_update(client, id, "{\"metadata\":{\"team\":null,\"tier\":\"gold\"},\"description\":null}", &json),
        ANTENV_OK, "\"metadata\":{\"tier\":\"gold\"}");
    EXPECT(antenv_environments_list(client, "{\"limit\":1}", &json), ANTENV_OK, id);

    antenv_client *worker = with_key(client, id);
    serve(client, worker, id);
    CHECK(antenv_client_free(worker) == ANTENV_OK);

    EXPECT(antenv_environments_archive(client, id, NULL, &json), ANTENV_OK, id);
    EXPECT(antenv_environments_update(client, id, "{\"name\":\"late\"}", &json), ANTENV_BAD_REQUEST, "\"error_code\":\"");
    EXPECT(antenv_environments_delete(client, id, NULL, &json), ANTENV_OK, id);
    EXPECT(antenv_environments_retrieve(client, id, NULL, &json), ANTENV_NOT_FOUND, id);
    antenv_string_free(id);
    CHECK(antenv_client_free(client) == ANTENV_OK);
    puts("operations: as it should be");
    return 0;
}
