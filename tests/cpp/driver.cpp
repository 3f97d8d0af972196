// Runs calls that a test describes on standard input, through antenv.hpp, and reports each on standard output: the language of
// tests/c/driver.c, line by line. With exceptions it uses the classes that throw, else those that return results.
#include <antenv.hpp>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>

namespace {

using outcome = antenv::result<std::string>; // for what yields no JSON, an empty text

#ifdef ANTENV_EXCEPTIONS
namespace api = antenv;
template <class Function> outcome attempt(const Function &function) {
    try {
        return function();
    } catch (const antenv::error &error) {
        return error;
    }
}
template <class Function> outcome attempt_void(const Function &function) {
    return attempt([&] { return function(), std::string(); });
}
#else
namespace api = antenv::nothrow;
template <class Function> outcome attempt(const Function &function) { return function(); }
template <class Function> outcome attempt_void(const Function &function) {
    antenv::result<void> done = function();
    if (!done) return done.error();
    return std::string();
}
#endif

// Puts what a function makes where it is to be kept.
template <class T, class Function> outcome keep(std::optional<T> &place, const Function &function) {
#ifdef ANTENV_EXCEPTIONS
    return attempt([&] { return place.emplace(function()), std::string(); });
#else
    antenv::result<T> made = function();
    if (!made) return made.error();
    place.emplace(std::move(*made));
    return std::string();
#endif
}

std::optional<api::client> client;
std::optional<api::pager> pager;
std::optional<api::queue> queue, records;
antenv::ticket ticket;

struct line {
    std::vector<std::optional<std::string>> fields;
    antenv::text operator[](std::size_t at) const {
        return at < fields.size() && fields[at] ? antenv::text(*fields[at]) : antenv::text();
    }
};

outcome named(const line &line) {
    auto environments = client->environments();
    auto work = environments.work();
    antenv::text environment = line[2], item = line[3], params = line[4];
    const std::map<std::string, std::function<outcome()>> operations = {
        {"environments.create", [&] { return attempt([&] { return environments.create(params); }); }},
        {"environments.list", [&] { return attempt([&] { return environments.list(params); }); }},
        {"environments.retrieve", [&] { return attempt([&] { return environments.retrieve(environment, params); }); }},
        {"environments.update", [&] { return attempt([&] { return environments.update(environment, params); }); }},
        {"environments.delete", [&] { return attempt([&] { return environments.remove(environment, params); }); }},
        {"environments.archive", [&] { return attempt([&] { return environments.archive(environment, params); }); }},
        {"work.list", [&] { return attempt([&] { return work.list(environment, params); }); }},
        {"work.poll", [&] { return attempt([&] { return work.poll(environment, params); }); }},
        {"work.stats", [&] { return attempt([&] { return work.stats(environment, params); }); }},
        {"work.retrieve", [&] { return attempt([&] { return work.retrieve(environment, item, params); }); }},
        {"work.update", [&] { return attempt([&] { return work.update(environment, item, params); }); }},
        {"work.ack", [&] { return attempt([&] { return work.ack(environment, item, params); }); }},
        {"work.heartbeat", [&] { return attempt([&] { return work.heartbeat(environment, item, params); }); }},
        {"work.stop", [&] { return attempt([&] { return work.stop(environment, item, params); }); }},
    };
    return operations.at(*line.fields[1])();
}

// What a queue or a pager hands out; nothing when there is none.
outcome unwrapped(std::optional<std::string> item) {
    return item ? outcome(std::move(*item)) : outcome(antenv::error(ANTENV_DONE, {}));
}

outcome collected(const api::queue &from, std::chrono::milliseconds timeout) {
#ifdef ANTENV_EXCEPTIONS
    std::optional<antenv::completion> done = from.next(timeout);
#else
    std::optional<antenv::completion> done = *from.next(timeout);
#endif
    return done ? std::move(done->result) : outcome(antenv::error(ANTENV_TIMEOUT, {}));
}

outcome run(const line &line) {
    const std::string &what = *line.fields[0];
    if (what == "client") return keep(client, [&] { return api::client::make(line[1]); });
    if (what == "derive") return keep(client, [&] { return client->derive(line[1]); });
    if (what == "call") return attempt([&] { return client->call(line[1], line[2]); });
    if (what == "named") return named(line);
    if (what == "request") return attempt([&] { return client->request(line[1], line[2], line[3]); });
    if (what == "pager") return keep(pager, [&] { return client->pager(line[1], line[2]); });
    if (what == "submit") {
        return attempt_void([&] { return queue->submit(*client, line[1], line[2], 1, &ticket); });
    }
    if (what == "collect") return collected(*queue, std::chrono::seconds(60));
    if (what == "record") return collected(*records, std::chrono::seconds(0));
    if (what == "stats") return attempt([&] { return client->stats(); });
    if (what == "log") return attempt_void([&] { return records->subscribe_log(line[1], 2); });
    if (what == "cancel") {
        antenv_status status = ticket.cancel();
        return status == ANTENV_OK ? outcome(std::string()) : outcome(antenv::error(status, {}));
    }
    if (what == "next") {
#ifdef ANTENV_EXCEPTIONS
        return attempt([&] { return unwrapped(pager->next()).value(); });
#else
        antenv::result<std::optional<std::string>> item = pager->next();
        return item ? unwrapped(std::move(*item)) : outcome(item.error());
#endif
    }
    std::cerr << "driver: what is " << what << "?\n";
    std::exit(2);
}

} // namespace

int main() {
    if (!keep(queue, api::queue::make) || !keep(records, api::queue::make)) return 2;
    for (std::string text; std::getline(std::cin, text);) {
        line line;
        std::istringstream rest(text + "\t");
        for (std::string field; std::getline(rest, field, '\t');) {
            line.fields.push_back(field == "\001" ? std::nullopt : std::optional<std::string>(field));
        }
        outcome done = run(line);
        int status = done ? ANTENV_OK : static_cast<int>(done.error().status());
        const std::string &json = done ? *done : done.error().json();
        std::cout << status << ' ' << (json.empty() ? -1L : static_cast<long>(json.size())) << '\n' << json << std::endl;
    }
}
