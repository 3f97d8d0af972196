// The classes that throw: throwing URL
#include "check.hpp"
#include <antenv.hpp>
#include <set>
#include <thread>

static_assert(!std::is_copy_constructible_v<antenv::client> && std::is_nothrow_move_constructible_v<antenv::client>);
static_assert(!std::is_copy_constructible_v<antenv::queue> && std::is_nothrow_move_assignable_v<antenv::queue>);
static_assert(!std::is_copy_constructible_v<antenv::pager> && !std::is_copy_constructible_v<antenv::ticket>);
static_assert(std::is_nothrow_copy_constructible_v<antenv::error>, "exceptions are copied while they fly");
#if __cplusplus >= 202002L
static_assert(std::input_iterator<antenv::pager::iterator> && std::input_iterator<antenv::nothrow::pager::iterator>);
#endif

template <class Function> static antenv::error thrown(const Function &function) {
    try {
        function();
    } catch (const antenv::error &error) {
        return error;
    }
    std::fputs("nothing was thrown\n", stderr);
    std::exit(1);
}

static std::string id_of(const std::string &json) {
    return antenv::json_get(json, "/id").value();
}

static void handles(const antenv::text &config) {
    antenv::client first(config), second(config);
    antenv_client *handle = first.handle();
    second = std::move(first);
    CHECK(first.handle() == nullptr && second.handle() == handle);
    antenv::client &itself = second;
    second = std::move(itself);
    CHECK(second.handle() == handle);
    antenv::client third(std::move(second));
    CHECK(third.handle() == handle);
    CHECK(thrown([&] { second.stats(); }).status() == ANTENV_INVALID_HANDLE);
    { antenv::client fourth(std::move(third)); }
    char *json;
    CHECK(antenv_client_stats(handle, &json) == ANTENV_INVALID_HANDLE); // freed, and once
    antenv_string_free(json);
}

static void errors(const antenv::client &client) {
    antenv::error error = thrown([&] { client.environments().retrieve("env_missing"); });
    CHECK(error.status() == ANTENV_NOT_FOUND && error.http_status() == 404 && error.attempts() == 1);
    CHECK(error.type() == "not_found_error" && error.error_code() == "environment_not_found");
    CHECK(error.request_id()->rfind("req_", 0) == 0 && !error.parameter());
    CHECK(error.details().front() == '{' && error.body().find("\"not_found_error\"") != error.body().npos);
    CHECK(error.message() == "There is no environment \"env_missing\"." && error.operation() == "environments.retrieve");
    CHECK(error.what() == "environments.retrieve: 404 not_found: " + error.message() + " (" + error.request_id().value() + ")");
    CHECK(error.header("request-id") == error.request_id() && !error.header("~none/") && !error.retry_after());
    CHECK(antenv::json_get(error.headers(), "/request-id") == error.request_id());
    CHECK(antenv::json_get(error.json(), "/code") == "104");
    antenv::error moved = std::move(error), copy = error;
    CHECK(moved.message() == error.message()); // moving copies: no error is ever without its text
    error = thrown([&] { client.environments().create("{}"); });
    CHECK(copy.status() == ANTENV_NOT_FOUND && error.parameter() == "name" && !error.http_status());
    CHECK(error.what() == "environments.create: " + error.message() && error.headers() == "{}");
    error = thrown([&] { client.environments().retrieve(std::string("env_1\0x", 7)); });
    CHECK(error.what() == error.message() && error.headers() == "{}" && !error.operation());
    CHECK(error.status() == ANTENV_INVALID_ARGUMENT && error.parameter() == "environment_id");
    error = thrown([&] { client.call("environments.list", std::string_view("{}\0", 3)); });
    CHECK(error.parameter() == "params_json");
    CHECK(thrown([] { antenv::client("{\"nonsense\":1}"); }).status() == ANTENV_CONFIG);
    CHECK(thrown([&] { client.pager("environments.create"); }).status() == ANTENV_INVALID_ARGUMENT);

    antenv::error strange(ANTENV_BAD_REQUEST,
        R"({"status":"x","message":"a\"\\\/\b\f\n\r\t\u00e9\u20ac\ud83d\ude00é,}","body":{"message":["}",{}]},"attempts":2})");
    CHECK(strange.message() == "a\"\\/\b\f\n\r\t\u00e9\u20ac\U0001F600\u00e9,}");
    CHECK(strange.body() == R"({"message":["}",{}]})" && strange.attempts() == 2 && strange.details() == "null");
    CHECK(antenv::error(ANTENV_RESPONSE, R"({"body":"<p>\n"})").body() == "<p>\n");
    CHECK(antenv::error(ANTENV_TIMEOUT, {}).message() == "timeout" && !std::strcmp(antenv::error(ANTENV_TIMEOUT, {}).what(), "timeout"));

    client.request("POST", "/_emulator/faults",
        R"({"body":[{"operation":"environments.list","status":429,"headers":{"retry-after":"1.5"},"count":1}]})");
    error = thrown([&] { client.environments().list(R"({"max_retries":0})"); });
    CHECK(error.status() == ANTENV_RATE_LIMITED && error.header("retry-after") == "1.5");
    CHECK(error.retry_after() == std::chrono::milliseconds(1500));

    const antenv::result<std::string> good(std::string("good")), bad(copy);
    CHECK(&good.value() == &*good && antenv::result<std::string>(good).value() == "good");
    CHECK(thrown([&] { bad.value(); }).status() == ANTENV_NOT_FOUND);
    CHECK(thrown([&] { antenv::result<void>(copy).value(); }).status() == ANTENV_NOT_FOUND);
}

static void values() {
    const char *result = R"({"id":"env_1","data":[{"a/b":"\u00e9\ud83d\ude00"}],"none":null,"nul":"a\u0000"})";
    CHECK(antenv::json_get(result, "/data/0/a~1b") == "\u00e9\U0001F600" && antenv::json_get(result, "/none") == "null");
    CHECK(antenv::json_get(std::string(result), "") == result && !antenv::json_get(result, "/data/1"));
    CHECK(thrown([&] { antenv::json_get(result, "id"); }).parameter() == "pointer");
    CHECK(thrown([&] { antenv::json_get(result, "/nul"); }).parameter() == "json");
    CHECK(thrown([] { antenv::json_get(nullptr, ""); }).status() == ANTENV_INVALID_ARGUMENT);
}

static void pages(const antenv::client &client) {
    std::set<std::string> made, listed;
    for (int number = 0; number < 5; number++) made.insert(id_of(client.environments().create(R"({"name":"p"})")));
    for (const std::string &item : client.pager("environments.list", R"({"limit":2})")) listed.insert(id_of(item));
    CHECK(made == listed);
    antenv::pager pager = client.pager("environments.list", R"({"limit":1})");
    int many = 0;
    while (pager.next()) many++;
    CHECK(many == 5 && !pager.next());

    client.request("POST", "/_emulator/faults", R"({"body":[
        {"operation":"environments.list","status":200,"body":{"data":[{"id":"a"}],"next_page":"p"},"count":1},
        {"operation":"environments.list","status":400,"count":1}]})");
    many = 0;
    antenv::error error = thrown([&] {
        for (const std::string &item : client.pager("environments.list")) many += id_of(item) == "a";
    });
    CHECK(many == 1 && error.status() == ANTENV_BAD_REQUEST);
    for (const std::string &id : made) client.environments().remove(id);
}

static void queues(const antenv::client &client) {
    antenv::queue queue;
    CHECK(queue.fd() >= 0 && !queue.next(std::chrono::seconds(0)) && queue.next_many(std::chrono::milliseconds(1)).empty());
    for (std::uint64_t tag = 0; tag < 100; tag++) queue.submit(client, "environments.list", nullptr, tag);
    queue.submit_request(client, "GET", "/v1/environments/env_missing", {}, 100);
    std::set<std::uint64_t> tags;
    while (tags.size() < 101) {
        for (const antenv::completion &done : queue.next_many(antenv::forever, 7)) {
            CHECK(tags.insert(done.tag).second);
            CHECK(done.tag == 100 ? done.result.error().status() == ANTENV_NOT_FOUND : done.result->front() == '{');
        }
    }
    client.request("POST", "/_emulator/faults", R"({"body":[{"operation":"environments.list","latency_ms":60000,"count":1}]})");
    antenv::ticket ticket;
    queue.submit(client, "environments.list", "{}", 7, &ticket);
    std::thread other([&] { CHECK(ticket.cancel() == ANTENV_OK); });
    std::optional<antenv::completion> done = queue.next();
    other.join();
    CHECK(done && done->tag == 7 && done->result.error().status() == ANTENV_CANCELLED);
    client.request("DELETE", "/_emulator/faults"); // the call may have been gone before it came to be delayed
    CHECK(antenv::ticket().cancel() == ANTENV_INVALID_HANDLE);
    CHECK(thrown([&] { queue.submit(client, "nonsense", {}, 1); }).status() == ANTENV_INVALID_ARGUMENT);
    queue.subscribe_log("debug", 9);
    client.environments().list();
    done = queue.next();
    CHECK(done->tag == 9 && antenv::json_get(*done->result, "/level") == "debug");
    CHECK(thrown([&] { queue.subscribe_log("loud", 9); }).status() == ANTENV_INVALID_ARGUMENT);
    queue.subscribe_log("off", 9);
}

int main(int, char **argv) {
    std::string config = std::string(R"({"api_key":"k","base_url":")") + argv[1] + "\"}";
    handles(config);
    antenv::client client(config);
    errors(client);
    values();
    pages(client);
    queues(client);
    CHECK(antenv::shutdown(std::chrono::seconds(10)) && antenv::shutdown());
    CHECK(client.derive(R"({"max_retries":0})").environments().list() == R"({"data":[],"next_page":null})");
    std::puts("throwing: as it should be");
}
