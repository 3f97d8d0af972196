/* What the C tests share: a check that says where it failed. */
#ifndef CHECK_H
#define CHECK_H

#include <antenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

/* Checks that a call gave this status, and in its JSON this text (NULL: no JSON). Frees the JSON. */
#define EXPECT(call, wanted, text)                                                                                           \
    do {                                                                                                                     \
        antenv_status got_ = (call);                                                                                         \
        const char *text_ = (text);                                                                                          \
        if (got_ != (wanted) || (text_ ? !json || !strstr(json, text_) : json != NULL)) {                                    \
            fprintf(stderr, "%s:%d: %s\n  gave %s: %s\n", __FILE__, __LINE__, #call, antenv_status_name(got_), json ? json : "NULL"); \
            exit(1);                                                                                                         \
        }                                                                                                                    \
        antenv_string_free(json);                                                                                            \
        json = NULL;                                                                                                         \
    } while (0)

/* A client for the server at that URL. */
static inline antenv_client *connect_to(const char *url, const char *more) {
    char config[512];
    char *json = NULL;
    antenv_client *client = NULL;
    snprintf(config, sizeof config, "{\"api_key\":\"test-key\",\"base_url\":\"%s\"%s}", url, more);
    EXPECT(antenv_client_new(config, &client, &json), ANTENV_OK, NULL);
    CHECK(client != NULL);
    return client;
}

#endif
