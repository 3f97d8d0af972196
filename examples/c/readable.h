/* What some examples share: how they read results, report errors, and get a client for an environment's work. */
#ifndef READABLE_H
#define READABLE_H

#include <antenv.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* Returns the value at a JSON pointer, such as "/data/0/id", to be freed with antenv_string_free; NULL if there is none. */
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

/* Creates a client with the key in ANTHROPIC_ENVIRONMENT_KEY, which the environment's work takes. Returns NULL on failure. */
static inline antenv_client *environment_client(void) {
    const char *key = getenv("ANTHROPIC_ENVIRONMENT_KEY");
    antenv_client *client;
    char config[512], *error;
    snprintf(config, sizeof config, "{\"environment_key\":\"%s\"}", key ? key : "");
    antenv_status status = antenv_client_new(config, &client, &error);
    return succeeded("creating a client", status, error) ? client : NULL;
}

#endif
