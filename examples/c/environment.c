/* The life of an environment that we host ourselves: it is created, changed, archived and deleted.
 *
 * Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL. Leaves nothing behind. */
#include "readable.h"

/* Prints and frees the result of a step. Returns whether it succeeded. */
static bool show(const char *step, antenv_status status, char *json) {
    if (!succeeded(step, status, json)) return false;
    printf("%s: %s\n", step, json);
    antenv_string_free(json);
    return true;
}

/* Changes the environment, and archives it. */
static bool change(antenv_client *client, const char *id) {
    char *json;
    antenv_status status;

    /* Metadata is merged: a key that is null goes, others stay. Members that are left out stay as they are. */
    status = antenv_environments_update(client, id, "{\"metadata\":{\"team\":null,\"tier\":\"gold\"},\"description\":null}", &json);
    if (!show("updated", status, json)) return false;

    status = antenv_environments_archive(client, id, NULL, &json); /* no new sessions from now on */
    if (!show("archived", status, json)) return false;

    /* An error is JSON, too: `message` is for people, `error_code` for programs. */
    status = antenv_environments_update(client, id, "{\"name\":\"too late\"}", &json);
    if (status == ANTENV_OK) return show("updated although it is archived", status, json);
    char *code = value_at(json, "/error_code");
    printf("not updated: %s, %s\n", antenv_status_name(status), code ? code : json);
    antenv_string_free(code);
    antenv_string_free(json);
    return true;
}

int main(void) {
    antenv_client *client;
    char *json;
    antenv_status status = antenv_client_new("{\"timeout_ms\":30000}", &client, &json);
    if (!succeeded("creating a client", status, json)) return 1;

    status = antenv_environments_create(client,
        "{\"name\":\"blue\",\"description\":\"for a moment\",\"config\":{\"type\":\"self_hosted\"},\"metadata\":{\"team\":\"blue\"}}", &json);
    char *id = status == ANTENV_OK ? value_at(json, "/id") : NULL;
    bool done = show("created", status, json) && change(client, id);

    if (id) {
        status = antenv_environments_delete(client, id, NULL, &json);
        done = show("deleted", status, json) && done;
    }
    antenv_string_free(id);
    antenv_client_free(client);
    return done ? 0 : 1;
}
