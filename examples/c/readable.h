/* What the examples share: the steps by which they get an environment, and a client that may poll its work queue. */
#ifndef READABLE_H
#define READABLE_H

#include <antenv.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* The value at a JSON pointer, such as "/data/0/id", to be freed with antenv_string_free; NULL if there is none. */
static inline char *value_at(const char *json, const char *pointer) {
    char *value;
    if (antenv_json_get(json, pointer, &value) == ANTENV_OK) return value;
    antenv_string_free(value);
    return NULL;
}

/* Returns whether a step succeeded. If not, prints why and frees the error object. */
static inline bool succeeded(const char *step, antenv_status status, char *error) {
    if (status == ANTENV_OK) return true;
    fprintf(stderr, "%s: %s\n", step, error ? error : antenv_status_name(status));
    antenv_string_free(error);
    return false;
}

/* Creates a self-hosted environment, whose work can be polled. Returns its identifier, to be freed with antenv_string_free; NULL on
 * failure. */
static inline char *create_environment(antenv_client *client, const char *name) {
    char params[256], *json;
    snprintf(params, sizeof params, "{\"name\":\"%s\",\"config\":{\"type\":\"self_hosted\"}}", name);
    antenv_status status = antenv_environments_create(client, params, &json);
    if (!succeeded("creating an environment", status, json)) return NULL;
    char *id = value_at(json, "/id");
    antenv_string_free(json);
    return id;
}

/* Deletes an environment, and frees its identifier. */
static inline bool delete_environment(antenv_client *client, char *id) {
    char *json;
    antenv_status status = antenv_environments_delete(client, id, NULL, &json);
    antenv_string_free(id);
    if (!succeeded("deleting the environment", status, json)) return false;
    antenv_string_free(json);
    return true;
}

/* Creates a client that may poll: one with the environment's key, from the variable ANTHROPIC_ENVIRONMENT_KEY or issued by the emulator.
 * It shares the other's connections. Returns NULL on failure. */
static inline antenv_client *create_worker(antenv_client *client, const char *environment) {
    char params[512], *json, *issued = NULL;
    const char *key = getenv("ANTHROPIC_ENVIRONMENT_KEY");
    antenv_client *worker;
    antenv_status status;
    if (!key || !*key) {
        snprintf(params, sizeof params, "{\"body\":{\"environment_id\":\"%s\"}}", environment);
        status = antenv_request(client, "POST", "/_emulator/environment_keys", params, &json);
        if (!succeeded("asking for an environment key", status, json)) return NULL;
        key = issued = value_at(json, "/environment_key");
        antenv_string_free(json);
    }
    snprintf(params, sizeof params, "{\"environment_key\":\"%s\"}", key ? key : "");
    antenv_string_free(issued);
    status = antenv_client_derive(client, params, &worker, &json);
    return succeeded("creating a client with the environment key", status, json) ? worker : NULL;
}

#endif
