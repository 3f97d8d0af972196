/* Sends a message to a session, and prints the session's events until the agent's turn ends: stream SESSION_ID
 *
 * The stream is opened first: it has only what happens after that. Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL. */
#include "readable.h"
#include <string.h>

/* Returns whether the value at a JSON pointer is this text. */
static bool is(const char *json, const char *pointer, const char *text) {
    char *value = value_at(json, pointer);
    bool same = value && strcmp(value, text) == 0;
    antenv_string_free(value);
    return same;
}

/* Returns whether an event ends the turn: the session is over, or idle and not because it waits for the results of tools. */
static bool ends_turn(const char *event) {
    if (is(event, "/type", "session.status_terminated")) return true;
    return is(event, "/type", "session.status_idle") && !is(event, "/stop_reason/type", "requires_action");
}

static bool send_message(antenv_client *client, const char *session) {
    char params[512], *json;
    snprintf(params, sizeof params,
        "{\"session_id\":\"%s\",\"events\":[{\"type\":\"user.message\",\"content\":[{\"type\":\"text\",\"text\":\"What can you do?\"}]}]}",
        session);
    antenv_status status = antenv_call(client, "sessions.events.send", params, &json);
    if (!succeeded("sending the message", status, json)) return false;
    antenv_string_free(json);
    return true;
}

/* Prints events until the turn ends; returns whether it did. */
static bool print_turn(antenv_stream *stream) {
    char *json;
    antenv_status status;
    bool ended = false;
    while (!ended && (status = antenv_stream_next(stream, -1, &json)) == ANTENV_OK) {
        puts(json);
        ended = ends_turn(json);
        antenv_string_free(json);
    }
    return ended || succeeded("waiting for events", status, json);
}

int main(int argc, char **argv) {
    antenv_client *client;
    antenv_stream *stream;
    char params[256], *error;
    if (argc != 2) {
        fprintf(stderr, "usage: stream SESSION_ID\n");
        return 2;
    }
    antenv_status status = antenv_client_new(NULL, &client, &error);
    if (!succeeded("creating a client", status, error)) return 1;

    snprintf(params, sizeof params, "{\"session_id\":\"%s\"}", argv[1]);
    status = antenv_stream_open(client, "sessions.events.stream", params, &stream, &error);
    bool done = succeeded("opening the stream", status, error) && send_message(client, argv[1]) && print_turn(stream);

    antenv_stream_free(stream);
    antenv_client_free(client);
    return done ? 0 : 1;
}
