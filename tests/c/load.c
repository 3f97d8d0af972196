/* Loads the library at run time: loading starts no thread and opens no file; unloading after use is harmless.
 * argv[1]: the library, argv[2]: the server's URL. Linux only: it looks into /proc. */
#define _GNU_SOURCE
#include "check.h"
#include <dirent.h>
#include <dlfcn.h>

static int entries(const char *path) {
    DIR *folder = opendir(path);
    int count = 0;
    CHECK(folder != NULL);
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

/* dlsym gives a pointer to data; C wants it copied, not cast, into one to a function. */
#define LOOK_UP(library, function)                            \
    do {                                                      \
        void *symbol_ = dlsym(library, #function);            \
        CHECK(symbol_ != NULL);                               \
        memcpy(&function##_, &symbol_, sizeof symbol_);       \
    } while (0)

int main(int argc, char **argv) {
    antenv_status (*antenv_client_new_)(const char *, antenv_client **, char **);
    antenv_status (*antenv_environments_list_)(antenv_client *, const char *, char **);
    antenv_status (*antenv_client_free_)(antenv_client *);
    void (*antenv_string_free_)(char *);
    CHECK(argc == 3);
    int threads = entries("/proc/self/task"), files = entries("/proc/self/fd");
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) fprintf(stderr, "%s\n", dlerror());
    CHECK(library != NULL);
    CHECK(entries("/proc/self/task") == threads && entries("/proc/self/fd") == files);
    LOOK_UP(library, antenv_client_new);
    LOOK_UP(library, antenv_environments_list);
    LOOK_UP(library, antenv_client_free);
    LOOK_UP(library, antenv_string_free);

    char config[512], *json = NULL;
    antenv_client *client = NULL;
    snprintf(config, sizeof config, "{\"api_key\":\"test-key\",\"base_url\":\"%s\"}", argv[2]);
    CHECK(antenv_client_new_(config, &client, &json) == ANTENV_OK);
    CHECK(entries("/proc/self/task") == threads + 1);
    CHECK(antenv_environments_list_(client, NULL, &json) == ANTENV_OK);
    antenv_string_free_(json);
    CHECK(dlclose(library) == 0);
    /* The library's thread is still there, and so must be its code: it has idle connections to watch. */
    CHECK(antenv_environments_list_(client, NULL, &json) == ANTENV_OK);
    antenv_string_free_(json);
    CHECK(antenv_client_free_(client) == ANTENV_OK);
    puts("load: as it should be");
    return 0;
}
