// Lets every allocation of the header's fail, one after the other: std::bad_alloc comes out, and nothing leaks (which
// AddressSanitizer looks at). A call makes one allocation, for its result: memory URL
#include "check.hpp"
#include <antenv.hpp>
#include <new>

static long left = -1; // how many allocations still succeed; negative: all
static long made = 0;

void *operator new(std::size_t size) {
    if (left == 0) throw std::bad_alloc();
    if (left > 0) left--;
    made++;
    if (void *memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

static std::string work;    // an item to be queued, and the configuration of a worker
static std::string session; // one that is idle

static void use_everything(const std::string &config) {
    antenv::client client(config);
    client.derive().stats();
    std::string environments = client.environments().list(std::string_view("{\"limit\":1} and more", 11));
    CHECK(environments.rfind("{\"data\":[{", 0) == 0);
    int failed = 0;
    try {
        client.environments().retrieve("env_missing");
    } catch (const antenv::error &error) {
        failed += error.error_code() == "environment_not_found";
    }
    try {
        client.request("GET", std::string("/v1\0", 4));
    } catch (const antenv::error &error) {
        failed += error.parameter() == "path";
    }
    CHECK(failed == 2);
    for (const std::string &item : client.pager("environments.list", R"({"limit":1})")) CHECK(item.front() == '{');
    antenv::stream stream = client.sessions().events().stream(session);
    CHECK(stream.next(std::chrono::seconds(0)).status == ANTENV_TIMEOUT);
    client.sessions().events().send(session, R"({"events":[{"type":"user.message","content":[{"type":"text","text":"a"}]}]})");
    for (const std::string &event : stream) {
        CHECK(antenv::json_get(event, "/type") == "user.message");
        break;
    }
    antenv::queue queue;
    antenv::ticket ticket;
    for (std::uint64_t tag = 0; tag < 4; tag++) queue.submit(client, "environments.list", {}, tag, &ticket);
    std::size_t came = queue.next().has_value();
    while (came < 4) came += queue.next_many().size();
    client.request("POST", "/_emulator/work", "{\"body\":" + work + "}");
    antenv::worker worker = client.worker(work);
    antenv::claimed claimed = worker.next();
    CHECK(claimed.lease->item().front() == '{' && !claimed.lease->wait(std::chrono::seconds(0)));
    CHECK(claimed.lease->state() != worker.stats() && claimed.lease->client().handle());
    CHECK(claimed.lease->finish().front() == '{');
    worker.stop();
    for (antenv::lease &lease : worker) CHECK(lease.item() == "there is none");
}

int main(int, char **argv) {
    std::string config = std::string(R"({"api_key":"k","base_url":")") + argv[1] + "\"}";
    for (int number = 0; number < 2; number++) {
        std::string other = antenv::json_get(antenv::client(config).environments().create(R"({"name":"n"})"), "/id").value();
        std::string params = R"({"agent":"agent_1","environment_id":")" + other + "\"}";
        session = antenv::json_get(antenv::client(config).sessions().create(params), "/id").value();
    }
    std::string made_now = antenv::client(config).environments().create(R"({"name":"w","config":{"type":"self_hosted"}})");
    work = "{\"environment_id\":\"" + antenv::json_get(made_now, "/id").value() + "\"}";
    setenv("ANTHROPIC_ENVIRONMENT_KEY", "k", 1);
    bool is_through = false;
    for (long works = 0; !is_through; works++) {
        left = works;
        try {
            use_everything(config);
            is_through = left > 0;
        } catch (const std::bad_alloc &) {
            CHECK(left == 0);
        }
        left = -1;
    }
    antenv::client client(config);
    made = 0;
    client.environments().list();
    CHECK(made == 1);
    std::puts("memory: as it should be");
}
