// Serving the calls of an agent, with exceptions and without: sessions URL ENVIRONMENT KEY. The session of the first item calls "echo"
// twice, that of the second the tools of `tools`, that of the third "slow", which ends when its thread does, and then "echo", and that of
// the fourth again the tools of `tools`.
#include "check.hpp"
#include <antenv.hpp>
#include <stdexcept>
#include <thread>

using std::chrono::milliseconds;
namespace nothrow = antenv::nothrow;

static_assert(!std::is_copy_constructible_v<nothrow::session> && !std::is_copy_constructible_v<nothrow::tool_call>);
static_assert(std::is_nothrow_move_constructible_v<nothrow::session> && std::is_nothrow_move_assignable_v<nothrow::tool_call>);
static_assert(noexcept(std::declval<nothrow::lease>().serve("")) && noexcept(std::declval<nothrow::session>().next()));
static_assert(noexcept(std::declval<nothrow::session>().run({})) && noexcept(std::declval<nothrow::lease>().run({})));
static_assert(noexcept(std::declval<nothrow::tool_call>().reply("")) && noexcept(std::declval<nothrow::tool_call>().wait()));

static const char *const CONFIG = R"({"tools":["echo","slow"],"max_idle_ms":300})";

static bool calls(const std::string &event, const char *name) {
    return *nothrow::json_get(event, "/name") == name;
}

// Tools for either kind of call.
template <class Call> static auto tools() {
    using antenv::tool_result;
    return std::map<std::string, std::function<tool_result(const Call &)>>{
        {"echo", [](const Call &call) { return call.input(); }},
        {"quote", [](const Call &) { return "\"\\\n\x01\u00fc"; }},
        {"fail",
            [](const Call &) -> tool_result {
#ifdef ANTENV_EXCEPTIONS
                throw std::runtime_error("it failed");
#else
                return tool_result::failure("it failed");
#endif
            }},
        {"blocks", [](const Call &) { return tool_result::blocks(R"([{"type":"text","text":"a"},{"novel":1}])", true); }},
        {"odd", [](const Call &) { return tool_result::blocks("7"); }},
        {"empty", {}},
    };
}

static void run_by_tools(const nothrow::lease &lease) {
    CHECK(lease.run({}, R"({"tool":1})").error().parameter() == "tool");
    CHECK(lease.run({}, std::string(1, '\0')).error().parameter() == "config_json");
    antenv::result<nothrow::session> session = lease.serve(R"({"tools":["echo","quote","fail","blocks","odd","empty","leave"],"max_idle_ms":300})");
    CHECK(session && *session->run(tools<nothrow::tool_call>()) == R"({"reason":"idle"})");
    CHECK(*session->run({}) == R"({"reason":"idle"})" && *nothrow::json_get(*session->stats(), "/let_go") == "2");
}

static void without_exceptions(const nothrow::lease &lease) {
    CHECK(lease.serve(R"({"tool":1})").error().parameter() == "tool");
    antenv::result<nothrow::session> made = lease.serve(CONFIG);
    CHECK(made);
    nothrow::session session = *std::move(made);
    antenv::result<nothrow::called> first = session.next();
    CHECK(first && first->call && calls(first->call->event(), "echo"));
    nothrow::tool_call call = *std::move(first->call);
    CHECK(!first->call->handle() && call.wait(milliseconds(0)) && !*call.wait(milliseconds(0)));
    CHECK(session.next(milliseconds(0))->status == ANTENV_TIMEOUT);
    CHECK(call.reply("[]").error().status() == ANTENV_INVALID_ARGUMENT);
    CHECK(*call.reply(R"({"content":"one"})") == R"({"posted":true})");
    CHECK(call.reply("{}").error().status() == ANTENV_INVALID_HANDLE);
    antenv::result<nothrow::called> second = session.next();
    antenv::result<nothrow::queue> queue = nothrow::queue::make();
    CHECK(second && second->call && queue && second->call->submit_reply(R"({"content":"two"})", *queue, 7));
    antenv::result<std::optional<antenv::completion>> done = queue->next();
    CHECK(done && *done && (*done)->tag == 7 && *(*done)->result == R"({"posted":true})");
    antenv::result<nothrow::called> end = session.next();
    CHECK(end && !end->call && end->status == ANTENV_DONE && end->end == R"({"reason":"idle"})");
    CHECK(*nothrow::json_get(*session.stats(), "/posted") == "2");
    CHECK(session.close() == ANTENV_OK && session.next().error().status() == ANTENV_INVALID_HANDLE);
}

#ifdef ANTENV_EXCEPTIONS
static void run_by_tools_that_throw(const nothrow::lease &held) {
    antenv_session *handle = nullptr;
    const char *config = R"({"tools":["echo","quote","fail","blocks","odd","empty","leave"],"max_idle_ms":300})";
    CHECK(antenv_session_new(held.handle(), config, &handle, nullptr) == ANTENV_OK);
    antenv::session session(handle);
    antenv::tools all = tools<antenv::tool_call>();
    all["leave"] = [](const antenv::tool_call &) -> antenv::tool_result { throw 7; };
    try {
        session.run(all);
        CHECK(false);
    } catch (int thrown) {
        CHECK(thrown == 7); // and the call is let go
    }
    CHECK(session.run(all) == R"({"reason":"idle"})");
    session.close();
    try {
        session.run(all);
        CHECK(false);
    } catch (const antenv::error &error) {
        CHECK(error.status() == ANTENV_INVALID_HANDLE);
    }
}

static void with_exceptions(const nothrow::lease &held) {
    antenv_session *handle = nullptr;
    CHECK(antenv_session_new(held.handle(), CONFIG, &handle, nullptr) == ANTENV_OK);
    antenv::session session(handle);
    antenv::called slow = session.next();
    CHECK(slow.call && calls(slow.call->event(), "slow"));
    CHECK(slow.call->wait() == R"({"reason":"thread_terminated"})");
    try {
        slow.call->reply("{}");
        CHECK(false);
    } catch (const antenv::error &error) {
        CHECK(error.status() == ANTENV_CANCELLED);
    }
    antenv::called echo = session.next();
    CHECK(echo.call && calls(echo.call->event(), "echo") && echo.call->reply(R"({"content":"three"})") == R"({"posted":true})");
    CHECK(session.next().end == R"({"reason":"idle"})");
}
#endif

int main(int argc, char **argv) {
    CHECK(argc == 4);
    std::string config = std::string(R"({"environment_key":")") + argv[3] + R"(","base_url":")" + argv[1] + R"("})";
    antenv::result<nothrow::client> client = nothrow::client::make(config);
    CHECK(client);
    antenv::result<nothrow::worker> worker = client->worker(std::string(R"({"environment_id":")") + argv[2] + R"("})");
    CHECK(worker);
    for (auto serve : {without_exceptions, run_by_tools,
#ifdef ANTENV_EXCEPTIONS
             with_exceptions, run_by_tools_that_throw
#endif
         }) {
        antenv::result<nothrow::claimed> item = worker->next();
        CHECK(item && item->lease);
        serve(*item->lease);
        CHECK(item->lease->finish());
    }
    std::puts("sessions: as it should be");
    return 0;
}
