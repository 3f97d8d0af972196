// The classes that return results, for programs without exceptions: returning URL
#include "check.hpp"
#include <antenv.hpp>
#include <set>

#if defined(ANTENV_EXCEPTIONS) && defined(EXPECT_NO_EXCEPTIONS)
#error "this is to be compiled without exceptions"
#endif

namespace api = antenv::nothrow;
static_assert(noexcept(api::client::make()) && noexcept(std::declval<api::client>().environments().create("{}")));
static_assert(noexcept(std::declval<api::client>().environments().work().poll("e")));
static_assert(noexcept(std::declval<api::client>().stats()) && noexcept(std::declval<api::queue>().next()));
static_assert(noexcept(std::declval<api::worker>().next()) && noexcept(std::declval<api::lease>().finish()));
static_assert(noexcept(std::declval<api::client>().worker()) && noexcept(++std::declval<api::worker::iterator &>()));
static_assert(noexcept(std::declval<api::pager>().next()) && noexcept(++std::declval<api::pager::iterator &>()));

static std::string member(const std::string &json, const char *name) {
    return api::json_get(json, std::string("/") + name)->value_or("");
}

static void serve(const api::client &client) {
    std::string id = member(*client.environments().create(R"({"name":"w","config":{"type":"self_hosted"}})"), "id");
    std::string config = "{\"environment_key\":\"k\",\"concurrency\":2,\"environment_id\":\"" + id + "\"}";
    CHECK(client.worker(R"({"concurrency":0})").error().parameter() == "concurrency");
    CHECK(client.worker(std::string(1, '\0')).error().parameter() == "config_json");
    antenv::result<api::worker> worker = client.worker(config);
    CHECK(worker && worker->stats() && worker->metrics());
    antenv::result<api::claimed> nothing = worker->next(std::chrono::seconds(0));
    CHECK(nothing && nothing->status == ANTENV_TIMEOUT && !nothing->lease);
    CHECK(client.request("POST", "/_emulator/work", "{\"body\":{\"count\":4,\"environment_id\":\"" + id + "\"}}"));
    int served = 0;
    for (antenv::result<api::lease> &lease : *worker) {
        CHECK(lease && !lease->item().empty() && lease->state() && lease->client());
        antenv::result<std::optional<std::string>> state = lease->wait(std::chrono::seconds(0));
        CHECK(state && !*state);
        if (++served == 1) CHECK(member(*lease->finish(), "state") == "stopped" && !lease->finish());
        if (served == 2) CHECK(lease->finish("[]").error().parameter() == "params_json"); // finished by the loop then
        if (served == 3) {
            auto queue = api::queue::make();
            CHECK(lease->attach(*queue, 1) && lease->submit_finish(*queue, 2) && !lease->submit_finish(*queue, 2));
            CHECK(*queue->next() && *queue->next() && worker->attach(*queue, 3));
            break;
        }
    }
    CHECK(served == 3 && worker->stats()->find("\"finished\":3") != std::string::npos);
    antenv::result<api::claimed> last = worker->next();
    CHECK(last && last->lease && last->lease->abandon() == ANTENV_OK && last->lease->abandon() == ANTENV_INVALID_HANDLE);
    CHECK(worker->stop() && worker->next()->status == ANTENV_DONE);
    for (antenv::result<api::lease> &lease : *worker) CHECK(!lease);

    CHECK(client.request("POST", "/_emulator/faults", R"({"body":{"operation":"work.poll","status":403,"count":1}})"));
    worker = client.worker(config);
    served = 0;
    for (antenv::result<api::lease> &lease : *worker) {
        CHECK(!lease && lease.error().status() == ANTENV_PERMISSION_DENIED);
        served++;
    }
    CHECK(served == 1 && worker->next().error().status() == ANTENV_PERMISSION_DENIED);
    api::worker moved = *std::move(worker);
    CHECK(worker->next().error().status() == ANTENV_INVALID_HANDLE && !worker->stop());
}

int main(int, char **argv) {
    antenv::result<api::client> none = api::client::make(R"({"base_url":3})");
    CHECK(!none && none.error().status() == ANTENV_CONFIG && none.error().parameter() == "base_url");
    std::string config = std::string(R"({"api_key":"k","base_url":")") + argv[1] + "\"}";
    antenv::result<api::client> made = api::client::make(config);
    CHECK(made.has_value());
    api::client client = std::move(*made);

    antenv::result<std::string> environment = client.environments().create(R"({"name":"n"})");
    CHECK(environment && environment->front() == '{' && (*environment).back() == '}');
    antenv::result<std::string> missing = client.environments().retrieve("env_missing");
    CHECK(!missing && missing.error().error_code() == "environment_not_found");
    CHECK(std::string(missing.error().what()).rfind("environments.retrieve: 404 not_found: There is no ", 0) == 0);
    CHECK(std::move(missing).value_or("other") == "other");
    CHECK(client.environments().retrieve(std::string(1, '\0')).error().parameter() == "environment_id");
    CHECK(client.environments().work().poll(std::string_view("\0", 1)).error().parameter() == "environment_id");

    CHECK(!*api::json_get("{}", "/id") && api::json_get("{", "").error().parameter() == "json");
    CHECK(api::json_get("{}", std::string(1, '\0')).error().parameter() == "pointer");

    auto pager = client.pager("environments.list");
    int many = 0;
    for (const antenv::result<std::string> &item : *pager) many += item.has_value();
    CHECK(many == 1);
    antenv::result<std::optional<std::string>> end = pager->next();
    CHECK(end && !*end);
    CHECK(client.request("POST", "/_emulator/faults", R"({"body":[{"operation":"environments.list","status":400,"count":1}]})"));
    many = 0;
    pager = client.pager("environments.list");
    for (const antenv::result<std::string> &item : *pager) {
        CHECK(!item && item.error().status() == ANTENV_BAD_REQUEST);
        many++;
    }
    CHECK(many == 1);

    auto queue = api::queue::make();
    CHECK(queue && !*queue->next(std::chrono::milliseconds(1)));
    CHECK(!queue->submit(client, "nonsense", {}, 1));
    antenv::ticket ticket;
    CHECK(queue->submit(client, "environments.list", {}, 1, &ticket) && ticket.handle());
    antenv::result<std::optional<antenv::completion>> done = queue->next();
    CHECK(done && *done && (*done)->tag == 1 && (*done)->result);
    api::queue moved = std::move(*queue);
    CHECK(queue->next().error().status() == ANTENV_INVALID_HANDLE);
    CHECK(queue->next_many().error().status() == ANTENV_INVALID_HANDLE);
    serve(client);
    std::puts("returning: as it should be");
}
