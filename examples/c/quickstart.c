/* Makes an environment, lists all there are, and looks for one that is not there.
 * Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL. */
#include <antenv.h>
#include <stdio.h>

int main(void) {
    antenv_client *client;
    antenv_pager *pager;
    char *json;

    if (antenv_client_new(NULL, &client, &json) != ANTENV_OK) {
        fprintf(stderr, "%s\n", json);
        antenv_string_free(json);
        return 1;
    }

    antenv_status status = antenv_environments_create(
        client, "{\"name\":\"quick start\",\"config\":{\"type\":\"self_hosted\"}}", &json);
    printf("created: %s\n", json); /* the environment, or what went wrong */
    antenv_string_free(json);

    if (antenv_pager_new(client, "environments.list", NULL, &pager, NULL) == ANTENV_OK) {
        while (antenv_pager_next(pager, &json) == ANTENV_OK) {
            printf("listed: %s\n", json);
            antenv_string_free(json);
        }
        antenv_string_free(json); /* NULL at the end, else the error */
        antenv_pager_free(pager);
    }

    antenv_status missing = antenv_environments_retrieve(client, "env_missing", NULL, &json);
    printf("%s: %s\n", antenv_status_name(missing), json);
    antenv_string_free(json);
    antenv_client_free(client);
    return status == ANTENV_OK ? 0 : 1;
}
