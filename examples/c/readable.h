/* What the examples share: just enough JSON to print results and to take a member out (a program of yours has a JSON library), and
 * the steps by which they come to an environment and a client that may poll it. */
#ifndef READABLE_H
#define READABLE_H

#include <antenv.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void print_indent(int depth) {
    printf("\n%*s", 4 + 2 * depth, "");
}

/* Prints JSON with an indented line for each member. */
static inline void print_json(const char *json) {
    int depth = 0, in_string = 0;
    printf("    ");
    for (const char *at = json; *at; at++) {
        if (in_string) {
            putchar(*at);
            if (*at == '\\' && at[1]) putchar(*++at);
            else if (*at == '"') in_string = 0;
        } else if (*at == '{' || *at == '[') {
            putchar(*at);
            if (at[1] == '}' || at[1] == ']') putchar(*++at);
            else print_indent(++depth);
        } else if (*at == '}' || *at == ']') {
            print_indent(--depth);
            putchar(*at);
        } else if (*at == ',') {
            putchar(*at);
            print_indent(depth);
        } else if (*at == ':') {
            printf(": ");
        } else if (*at != ' ' && *at != '\n') {
            putchar(*at);
            in_string = *at == '"';
        }
    }
    putchar('\n');
}

/* The string member `name` of a JSON object, at whatever depth it comes first, as it is written; "" if there is none. Free it. */
static inline char *take_string(const char *json, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *start = json ? strstr(json, key) : NULL;
    start = start ? start + strlen(key) : "\"";
    size_t length = strcspn(start, "\"");
    char *text = malloc(length + 1);
    if (!text) abort();
    memcpy(text, start, length);
    text[length] = '\0';
    return text;
}

/* Whether a step succeeded. If not, says why, and frees the error object. */
static inline bool succeeded(const char *step, antenv_status status, char *error) {
    if (status == ANTENV_OK) return true;
    fprintf(stderr, "%s: %s\n", step, error ? error : antenv_status_name(status));
    antenv_string_free(error);
    return false;
}

/* Makes a self-hosted environment, whose work can be polled. Returns its identifier, to be freed; NULL: it could not be made. */
static inline char *create_environment(antenv_client *client, const char *name) {
    char params[256], *json;
    snprintf(params, sizeof params, "{\"name\":\"%s\",\"config\":{\"type\":\"self_hosted\"}}", name);
    antenv_status status = antenv_environments_create(client, params, &json);
    if (!succeeded("creating an environment", status, json)) return NULL;
    char *id = take_string(json, "id");
    antenv_string_free(json);
    return id;
}

/* Deletes the environment, and frees its identifier. */
static inline bool delete_environment(antenv_client *client, char *id) {
    char *json;
    antenv_status status = antenv_environments_delete(client, id, NULL, &json);
    free(id);
    if (!succeeded("deleting the environment", status, json)) return false;
    antenv_string_free(json);
    return true;
}

/* Makes a client that may poll: one with the environment's key, of the variable ANTHROPIC_ENVIRONMENT_KEY or issued by the emulator.
 * It shares the other's connections. NULL: it could not be made. */
static inline antenv_client *create_worker(antenv_client *client, const char *environment) {
    char params[512], *json, *issued = NULL;
    const char *key = getenv("ANTHROPIC_ENVIRONMENT_KEY");
    antenv_client *worker;
    antenv_status status;
    if (!key || !*key) {
        snprintf(params, sizeof params, "{\"body\":{\"environment_id\":\"%s\"}}", environment);
        status = antenv_request(client, "POST", "/_emulator/environment_keys", params, &json);
        if (!succeeded("asking for an environment key", status, json)) return NULL;
        key = issued = take_string(json, "environment_key");
        antenv_string_free(json);
    }
    snprintf(params, sizeof params, "{\"environment_key\":\"%s\"}", key);
    free(issued);
    status = antenv_client_derive(client, params, &worker, &json);
    return succeeded("making a client with the environment key", status, json) ? worker : NULL;
}

#endif
