// The face that returns results, for programs without exceptions: returning URL
#include "check.hpp"
#include <antenv.hpp>
#include <set>

#if defined(ANTENV_EXCEPTIONS) && defined(EXPECT_NO_EXCEPTIONS)
#error "this is to be compiled without exceptions"
#endif

namespace face = antenv::nothrow;
static_assert(noexcept(face::client::make()) && noexcept(std::declval<face::client>().environments().create("{}")));
static_assert(noexcept(std::declval<face::client>().environments().work().poll("e")));
static_assert(noexcept(std::declval<face::client>().stats()) && noexcept(std::declval<face::queue>().next()));
static_assert(noexcept(std::declval<face::pager>().next()) && noexcept(++std::declval<face::pager::iterator &>()));

int main(int, char **argv) {
    antenv::result<face::client> none = face::client::make(R"({"base_url":3})");
    CHECK(!none && none.error().status() == ANTENV_CONFIG && none.error().parameter() == "base_url");
    std::string config = std::string(R"({"api_key":"k","base_url":")") + argv[1] + "\"}";
    antenv::result<face::client> made = face::client::make(config);
    CHECK(made.has_value());
    face::client client = std::move(*made);

    antenv::result<std::string> environment = client.environments().create(R"({"name":"n"})");
    CHECK(environment && environment->front() == '{' && (*environment).back() == '}');
    antenv::result<std::string> missing = client.environments().retrieve("env_missing");
    CHECK(!missing && missing.error().error_code() == "environment_not_found");
    CHECK(std::move(missing).value_or("other") == "other");
    CHECK(client.environments().retrieve(std::string(1, '\0')).error().parameter() == "environment_id");
    CHECK(client.environments().work().poll(std::string_view("\0", 1)).error().parameter() == "environment_id");

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

    auto queue = face::queue::make();
    CHECK(queue && !*queue->next(std::chrono::milliseconds(1)));
    CHECK(!queue->submit(client, "nonsense", {}, 1));
    antenv::ticket ticket;
    CHECK(queue->submit(client, "environments.list", {}, 1, &ticket) && ticket.handle());
    antenv::result<std::optional<antenv::completion>> done = queue->next();
    CHECK(done && *done && (*done)->tag == 1 && (*done)->result);
    face::queue moved = std::move(*queue);
    CHECK(queue->next().error().status() == ANTENV_INVALID_HANDLE);
    CHECK(queue->next_many().error().status() == ANTENV_INVALID_HANDLE);
    std::puts("returning: as it should be");
}
