/* Everything a caller can get wrong: each gives a clear error, none a crash, and nothing is sent. argv[1]: the server's URL. */
#include "check.h"

static char *json;

static void handles(antenv_client *client) {
    antenv_client *freed, *other = NULL;
    antenv_pager *pager = NULL;
    int local = 0;

    EXPECT(antenv_client_derive(client, NULL, &freed, &json), ANTENV_OK, NULL);
    CHECK(antenv_client_free(freed) == ANTENV_OK);
    CHECK(antenv_client_free(freed) == ANTENV_INVALID_HANDLE);
    CHECK(antenv_client_free(NULL) == ANTENV_INVALID_HANDLE);
    EXPECT(antenv_pager_new(client, "environments.list", NULL, &pager, &json), ANTENV_OK, NULL);

    antenv_client *wrong[] = {NULL, freed, (antenv_client *)pager, (antenv_client *)(void *)&local, (antenv_client *)~(uintptr_t)0, (antenv_client *)(uintptr_t)1};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        EXPECT(antenv_environments_list(wrong[i], NULL, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"client\"");
        EXPECT(antenv_environments_retrieve(wrong[i], "env_1", NULL, &json), ANTENV_INVALID_HANDLE, "client");
        EXPECT(antenv_work_stop(wrong[i], "env_1", "work_1", NULL, &json), ANTENV_INVALID_HANDLE, "client");
        EXPECT(antenv_call(wrong[i], "environments.list", NULL, &json), ANTENV_INVALID_HANDLE, "client");
        EXPECT(antenv_request(wrong[i], "GET", "/v1/x", NULL, &json), ANTENV_INVALID_HANDLE, "client");
        EXPECT(antenv_client_derive(wrong[i], NULL, &other, &json), ANTENV_INVALID_HANDLE, "client");
        CHECK(other == NULL);
        antenv_pager *none = (antenv_pager *)&local;
        EXPECT(antenv_pager_new(wrong[i], "environments.list", NULL, &none, &json), ANTENV_INVALID_HANDLE, "client");
        CHECK(none == NULL);
        CHECK(antenv_client_free(wrong[i]) == ANTENV_INVALID_HANDLE);
        if (wrong[i] != (antenv_client *)pager) {
            EXPECT(antenv_pager_next((antenv_pager *)wrong[i], &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"pager\"");
            CHECK(antenv_pager_free((antenv_pager *)wrong[i]) == ANTENV_INVALID_HANDLE);
        }
    }
    CHECK(antenv_pager_free((antenv_pager *)client) == ANTENV_INVALID_HANDLE);
    CHECK(antenv_pager_free(pager) == ANTENV_OK);
    CHECK(antenv_pager_free(pager) == ANTENV_INVALID_HANDLE);
}

static void workers(antenv_client *client) {
    const char *config = "{\"environment_id\":\"env_1\",\"environment_key\":\"k\"}";
    antenv_worker *freed = NULL, *live = NULL, *none = (antenv_worker *)client;
    antenv_queue *queue = NULL;
    int local = 0;

    EXPECT(antenv_queue_new(&queue, &json), ANTENV_OK, NULL);
    EXPECT(antenv_worker_new(client, config, &live, &json), ANTENV_OK, NULL);
    EXPECT(antenv_worker_new(client, config, &freed, &json), ANTENV_OK, NULL);
    CHECK(antenv_worker_free(freed) == ANTENV_OK);
    EXPECT(antenv_worker_new((antenv_client *)live, config, &none, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"client\"");
    CHECK(none == NULL);
    CHECK(antenv_worker_new(client, config, NULL, NULL) == ANTENV_INVALID_ARGUMENT);
    EXPECT(antenv_worker_new(client, config, NULL, &json), ANTENV_INVALID_ARGUMENT, "`out` is NULL");
    CHECK(antenv_worker_new(client, "{", &none, NULL) == ANTENV_CONFIG && none == NULL);
    EXPECT(antenv_worker_new(client, "{\"environment_id\":\"\xff\"}", &none, &json), ANTENV_INVALID_ARGUMENT, "`config_json` is not valid UTF-8");
    EXPECT(antenv_worker_new(client, "[]", &none, &json), ANTENV_CONFIG, "\"parameter\":\"config_json\"");
    EXPECT(antenv_worker_new(client, "{\"concurency\":2}", &none, &json), ANTENV_CONFIG, "\"parameter\":\"concurency\"");
    EXPECT(antenv_worker_new(client, "{\"concurrency\":0}", &none, &json), ANTENV_CONFIG, "\"parameter\":\"concurrency\"");
    EXPECT(antenv_worker_new(client, NULL, &none, &json), ANTENV_CONFIG, "ANTHROPIC_ENVIRONMENT_ID");
    EXPECT(antenv_worker_new(client, "{\"environment_id\":\"env_1\"}", &none, &json), ANTENV_CONFIG, "ANTHROPIC_ENVIRONMENT_KEY");
    antenv_lease *nothing = (antenv_lease *)&local;
    EXPECT(antenv_lease_adopt(client, NULL, &nothing, &json), ANTENV_CONFIG, "ANTHROPIC_WORK_ID");
    CHECK(nothing == NULL);
    EXPECT(antenv_lease_adopt((antenv_client *)live, NULL, &nothing, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"client\"");
    EXPECT(antenv_lease_adopt(client, NULL, NULL, &json), ANTENV_INVALID_ARGUMENT, "`out_lease` is NULL");
    EXPECT(antenv_lease_adopt(client, "{\"worker_id\":\"w\"}", &nothing, &json), ANTENV_CONFIG, "\"parameter\":\"worker_id\"");
    CHECK(antenv_lease_adopt(client, NULL, &nothing, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_lease_release(NULL, NULL) == ANTENV_INVALID_ARGUMENT);

    void *wrong[] = {NULL, freed, client, queue, live, &local, (void *)~(uintptr_t)0, (void *)(uintptr_t)1};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        antenv_lease *lease = wrong[i], *out = (antenv_lease *)&local;
        antenv_client *own = client;
        EXPECT(antenv_lease_state(lease, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"lease\"");
        EXPECT(antenv_lease_wait(lease, -1, &json), ANTENV_INVALID_HANDLE, "lease");
        EXPECT(antenv_lease_wait_lost(lease, -1, &json), ANTENV_INVALID_HANDLE, "lease");
        EXPECT(antenv_lease_client(lease, &own, &json), ANTENV_INVALID_HANDLE, "lease");
        CHECK(own == NULL);
        EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_INVALID_HANDLE, "lease");
        EXPECT(antenv_lease_submit_finish(lease, NULL, queue, 1, &json), ANTENV_INVALID_HANDLE, "lease");
        CHECK(antenv_lease_attach(lease, queue, 1) == ANTENV_INVALID_HANDLE);
        EXPECT(antenv_lease_release(lease, &json), ANTENV_INVALID_HANDLE, "lease");
        CHECK(antenv_lease_attach_lost(lease, queue, 1) == ANTENV_INVALID_HANDLE);
        CHECK(antenv_lease_abandon(lease) == ANTENV_INVALID_HANDLE);
        if (wrong[i] == live) continue;
        EXPECT(antenv_worker_next(wrong[i], -1, &out, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"worker\"");
        CHECK(out == NULL);
        EXPECT(antenv_worker_stats(wrong[i], &json), ANTENV_INVALID_HANDLE, "worker");
        EXPECT(antenv_worker_metrics(wrong[i], &json), ANTENV_INVALID_HANDLE, "worker");
        CHECK(antenv_worker_stop(wrong[i]) == ANTENV_INVALID_HANDLE);
        CHECK(antenv_worker_attach(wrong[i], queue, 1) == ANTENV_INVALID_HANDLE);
        CHECK(antenv_worker_free(wrong[i]) == ANTENV_INVALID_HANDLE);
        if (wrong[i] != queue) CHECK(antenv_worker_attach(live, wrong[i], 1) == (wrong[i] ? ANTENV_INVALID_HANDLE : ANTENV_OK) /* which detaches it */);
    }
    CHECK(antenv_worker_stats(live, NULL) == ANTENV_INVALID_ARGUMENT && antenv_worker_metrics(live, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_worker_free(live) == ANTENV_OK && antenv_worker_free(live) == ANTENV_INVALID_HANDLE);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
}

static void pointers(antenv_client *client) {
    antenv_client *none = client;
    antenv_pager *pager = NULL;
    CHECK(antenv_environments_create(client, "{\"name\":\"n\"}", NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_work_ack(client, "e", "w", NULL, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_call(client, "environments.list", NULL, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_request(client, "POST", "/v1/x", NULL, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_pager_next(NULL, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_client_new("{\"api_key\":\"k\"}", NULL, NULL) == ANTENV_INVALID_ARGUMENT);
    EXPECT(antenv_client_new("{\"api_key\":\"k\"}", NULL, &json), ANTENV_INVALID_ARGUMENT, "`out` is NULL");
    EXPECT(antenv_client_derive(client, NULL, NULL, &json), ANTENV_INVALID_ARGUMENT, "`out` is NULL");
    CHECK(antenv_client_stats(client, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_client_new("{", &none, NULL) == ANTENV_CONFIG);
    CHECK(none == NULL);
    CHECK(antenv_pager_new(client, "environments.list", NULL, NULL, NULL) == ANTENV_INVALID_ARGUMENT);
    CHECK(antenv_pager_new(client, "environments.list", "[]", &pager, NULL) == ANTENV_INVALID_ARGUMENT);
    EXPECT(antenv_environments_retrieve(client, NULL, NULL, &json), ANTENV_INVALID_ARGUMENT, "`environment_id` is NULL");
    EXPECT(antenv_work_heartbeat(client, "env_1", NULL, NULL, &json), ANTENV_INVALID_ARGUMENT, "`work_id` is NULL");
    EXPECT(antenv_call(client, NULL, NULL, &json), ANTENV_INVALID_ARGUMENT, "`operation` is NULL");
    EXPECT(antenv_request(client, NULL, "/", NULL, &json), ANTENV_INVALID_ARGUMENT, "`method` is NULL");
    EXPECT(antenv_request(client, "GET", NULL, NULL, &json), ANTENV_INVALID_ARGUMENT, "`path` is NULL");
    EXPECT(antenv_pager_new(client, NULL, NULL, &pager, &json), ANTENV_INVALID_ARGUMENT, "`operation` is NULL");
    antenv_string_free(NULL);
}

static void text(antenv_client *client) {
    antenv_client *none = NULL;
    EXPECT(antenv_environments_create(client, "{\"name\":\"\xff\"}", &json), ANTENV_INVALID_ARGUMENT, "`params_json` is not valid UTF-8");
    EXPECT(antenv_environments_retrieve(client, "\xc3\x28", NULL, &json), ANTENV_INVALID_ARGUMENT, "`environment_id` is not valid UTF-8");
    EXPECT(antenv_client_new("\xed\xa0\x80", &none, &json), ANTENV_INVALID_ARGUMENT, "`config_json` is not valid UTF-8");
    EXPECT(antenv_environments_create(client, "{\"name\":", &json), ANTENV_INVALID_ARGUMENT, "`params_json` is not valid JSON");
    EXPECT(antenv_environments_create(client, "", &json), ANTENV_INVALID_ARGUMENT, "`params_json` is not valid JSON");
    EXPECT(antenv_environments_create(client, "[]", &json), ANTENV_INVALID_ARGUMENT, "`params_json` must be a JSON object");
    EXPECT(antenv_environments_create(client, NULL, &json), ANTENV_INVALID_ARGUMENT, "`name` is required");
    EXPECT(antenv_environments_create(client, "{\"nam\":\"x\",\"name\":\"n\"}", &json), ANTENV_INVALID_ARGUMENT, "known are: name, config");
    EXPECT(antenv_call(client, "environments.destroy", NULL, &json), ANTENV_INVALID_ARGUMENT, "environments.create, environments.list");
    EXPECT(antenv_pager_new(client, "work.poll", NULL, &(antenv_pager *){NULL}, &json), ANTENV_INVALID_ARGUMENT, "environments.list, work.list");
    const char *ids[] = {"", ".", "..", ";x", "..;x"};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        EXPECT(antenv_environments_retrieve(client, ids[i], NULL, &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"environment_id\"");
        EXPECT(antenv_work_stop(client, "env_1", ids[i], NULL, &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"work_id\"");
    }
    EXPECT(antenv_environments_list(client, "{\"extra_headers\":{\"x\":\"a\\r\\nb: c\"}}", &json), ANTENV_INVALID_ARGUMENT, "control characters");
    EXPECT(antenv_environments_list(client, "{\"extra_headers\":{\"x\\r\\ny\":\"a\"}}", &json), ANTENV_INVALID_ARGUMENT, "header name");
    EXPECT(antenv_environments_list(client, "{\"workspace_id\":\"a\\nb\"}", &json), ANTENV_INVALID_ARGUMENT, "workspace_id");
    EXPECT(antenv_request(client, "GET\r\nx: y", "/", NULL, &json), ANTENV_INVALID_ARGUMENT, "method");
    EXPECT(antenv_request(client, "GET", "/x HTTP/1.1\r\nx: y", NULL, &json), ANTENV_INVALID_ARGUMENT, "path");
    EXPECT(antenv_request(client, "GET", "http://example.com/", NULL, &json), ANTENV_INVALID_ARGUMENT, "path");
    EXPECT(antenv_client_new("{\"api_key\":\"k\",\"base_url\":\"http://example.com\"}", &none, &json), ANTENV_CONFIG, "base_url");
}

static void values(void) {
    const char *result = "{\"id\":\"env_1\",\"data\":[{\"a/b\":\"\\u00e9\\ud83d\\ude00\"}],\"none\":null,\"many\":12,\"nul\":\"a\\u0000\"}";
    const char *there[][2] = {
        {"/id", "env_1"}, {"/data/0/a~1b", "\xc3\xa9\xf0\x9f\x98\x80"}, {"/many", "12"}, {"/none", "null"}, {"", result},
    };
    const char *missing[] = {"/", "/no", "/data/1", "/data/-", "/data/00", "/id/x", "/none/x"};
    const char *wrong[] = {"id", "/~", "/~2", " /id"};
    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++) {
        CHECK(antenv_json_get(result, there[i][0], &json) == ANTENV_OK && strcmp(json, there[i][1]) == 0);
        antenv_string_free(json);
    }
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        json = (char *)1;
        EXPECT(antenv_json_get(result, missing[i], &json), ANTENV_DONE, NULL);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        EXPECT(antenv_json_get(result, wrong[i], &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"pointer\"");
    }
    EXPECT(antenv_json_get(result, "/nul", &json), ANTENV_INVALID_ARGUMENT, "C cannot hold");
    EXPECT(antenv_json_get("{", "/id", &json), ANTENV_INVALID_ARGUMENT, "`json` is not valid JSON");
    EXPECT(antenv_json_get("\"\xff\"", "", &json), ANTENV_INVALID_ARGUMENT, "`json` is not valid UTF-8");
    EXPECT(antenv_json_get("{}", "/\xff", &json), ANTENV_INVALID_ARGUMENT, "`pointer` is not valid UTF-8");
    EXPECT(antenv_json_get(NULL, "", &json), ANTENV_INVALID_ARGUMENT, "`json` is NULL");
    EXPECT(antenv_json_get("{}", NULL, &json), ANTENV_INVALID_ARGUMENT, "`pointer` is NULL");
    CHECK(antenv_json_get("{}", "", NULL) == ANTENV_INVALID_ARGUMENT);
}

/* A JSON text of `depth` arrays inside each other, left open, with `before` in front. */
static char *nested(const char *before, size_t depth) {
    size_t length = strlen(before);
    char *deep = malloc(length + depth + 1);
    CHECK(deep != NULL);
    memcpy(deep, before, length);
    memset(deep + length, '[', depth);
    deep[length + depth] = '\0';
    return deep;
}

static void size(antenv_client *client) {
    char *deep = nested("", 1000000), *inside = nested("{\"name\":\"n\",\"config\":{\"a\":", 1000000), *huge = nested("{\"nam", 16000000);
    char *far = nested("/", 70000);
    EXPECT(antenv_environments_create(client, deep, &json), ANTENV_INVALID_ARGUMENT, "params_json");
    EXPECT(antenv_environments_create(client, inside, &json), ANTENV_INVALID_ARGUMENT, "params_json");
    EXPECT(antenv_environments_create(client, huge, &json), ANTENV_INVALID_ARGUMENT, "params_json");
    EXPECT(antenv_call(client, huge, NULL, &json), ANTENV_INVALID_ARGUMENT, "`operation` is not known");
    EXPECT(antenv_request(client, "GET", far, NULL, &json), ANTENV_INVALID_ARGUMENT, "`path` is too long for a URL");
    EXPECT(antenv_json_get(deep, "/0", &json), ANTENV_INVALID_ARGUMENT, "`json` is not valid JSON");
    EXPECT(antenv_json_get("[]", huge, &json), ANTENV_INVALID_ARGUMENT, "`pointer` must be empty");
    free(deep);
    free(inside);
    free(huge);
    free(far);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    antenv_client *client = connect_to(argv[1], "");
    handles(client);
    workers(client);
    pointers(client);
    text(client);
    size(client);
    values();
    CHECK(strcmp(antenv_status_name(12345), "unknown") == 0 && strcmp(antenv_status_name(-1), "unknown") == 0);
    CHECK(strcmp(antenv_status_name(ANTENV_NOT_FOUND), "not_found") == 0);
    CHECK(antenv_abi_version() == 1 && strlen(antenv_version()) >= 5);
    EXPECT(antenv_request(client, "GET", "/_emulator/health", NULL, &json), ANTENV_OK, "\"ok\":true");
    CHECK(antenv_client_free(client) == ANTENV_OK);
    puts("misuse: as it should be");
    return 0;
}
