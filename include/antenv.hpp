/*
 * antenv for C++17: RAII over antenv.h, header-only. docs/cpp.md explains it; antenv.h has each operation's parameters and
 * results.
 *
 *     antenv::client client;                                     // credentials from environment variables
 *     std::string created = client.environments().create(R"({"name":"tests"})");
 *     for (const std::string &item : client.pager("environments.list")) std::puts(item.c_str());
 *     for (antenv::lease &lease : client.worker()) serve(lease.item());   // work; each item is stopped after it was served
 *
 * The same classes exist twice, from one template:
 *
 * antenv::client, pager, queue, worker, lease   throw antenv::error; not available under -fno-exceptions
 * antenv::nothrow::client, pager and so on      return antenv::result<...> and are noexcept
 *
 * JSON          goes in as text and comes out as std::string. Values with a `dump()`, such as nlohmann::json, are accepted as
 *               text, too; nlohmann::json::parse(client.environments().list()) is the way back; json_get reads single values.
 * Ownership     Objects own their handles: they can be moved, not copied, and free what they hold. A moved-from object holds
 *               nothing: using it gives ANTENV_INVALID_HANDLE. So does using environments() or work() after their client is gone.
 * Threads       Every const member function may be called from any thread, concurrently. Assigning to an object, moving from it
 *               and destroying it must not overlap with other uses, as always.
 * Blocking      "Blocks" means: until the call is done, for at most its `timeout_ms`, retries and waits included.
 * Out of memory Functions that are noexcept end the program, the others throw std::bad_alloc: nothing leaks, but the result is
 *               lost. (A work item returns to its queue.)
 *
 * Parameters with the same meaning everywhere
 *
 * config, params  a JSON object, as antenv.h describes it for the function of that name; nothing or nullptr: none
 * environment_id  identifier of an environment, "env_..."
 * work_id         identifier of a work item, "work_..."
 * timeout         how long to wait; zero does not wait, `forever` waits forever
 * queue, tag      the queue that receives the completion, and any number that comes back with it
 * operation       the name of an operation, such as "environments.list"
 * through         the client that makes the call
 */

#ifndef ANTENV_HPP
#define ANTENV_HPP

#include "antenv.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define ANTENV_EXCEPTIONS 1
#define ANTENV_FLAVOUR with_exceptions
#include <exception>
#else
#define ANTENV_FLAVOUR without_exceptions
#endif

namespace antenv {
// An error has another layout without exceptions. The linker sees different names, so a program may mix such units.
inline namespace ANTENV_FLAVOUR {

/** The timeout that waits forever. */
inline constexpr std::chrono::milliseconds forever{-1};

/** Returns the library's version, such as "0.1.0". Does not block. */
inline std::string_view version() noexcept { return antenv_version(); }

/** Returns the name of a status, such as "not_found". Does not block. */
inline std::string_view status_name(antenv_status status) noexcept { return antenv_status_name(static_cast<int32_t>(status)); }

namespace detail {

/** Takes ownership of a string that the library returned. */
inline std::string take(char *text) {
    struct freed {
        char *text;
        ~freed() { antenv_string_free(text); }
    } owner{text};
    return text ? std::string(text) : std::string();
}

/** Returns the value at a pointer in a JSON text of the library's; nothing when it is `null` or absent. */
inline std::optional<std::string> value_at(const std::string &json, const char *pointer) {
    if (json.empty()) return std::nullopt;
    char *out = nullptr;
    antenv_status status = antenv_json_get(json.c_str(), pointer, &out);
    std::string value = take(out);
    if (status != ANTENV_OK || value == "null") return std::nullopt;
    return std::optional<std::string>(std::move(value));
}

inline std::optional<int> int_at(const std::string &json, const char *pointer) {
    std::optional<std::string> value = value_at(json, pointer);
    if (!value) return std::nullopt;
    return std::atoi(value->c_str());
}

} // namespace detail

/**
 * A failure: a status, and the members of the error object (docs/errors.md). Copies share one text, and copying does not throw.
 */
class error
#ifdef ANTENV_EXCEPTIONS
    : public std::exception
#endif
{
public:
    /** Creates one from a status and an error object; without an object the status's name is the message. */
    error(antenv_status status, std::string json) : data_(std::make_shared<data>(data{status, std::move(json), {}, {}})) {
        std::optional<std::string> message = member("/message"), operation = member("/operation");
        std::optional<std::string> http_status = member("/http_status"), request_id = member("/request_id");
        data_->message = message ? std::move(*message) : std::string(status_name(status));
        if (operation) data_->what += *operation + ": ";
        if (http_status) data_->what.append(*http_status + " ").append(status_name(status)).append(": ");
        data_->what += data_->message;
        if (request_id) data_->what += " (" + *request_id + ")";
    }
    /** Copies one. There is no move, which would leave an error without its text. */
    error(const error &) noexcept = default;
    error &operator=(const error &) noexcept = default;

    /** Returns the kind of failure. */
    antenv_status status() const noexcept { return data_->status; }
    /** Returns what happened, in words. */
    const std::string &message() const noexcept { return data_->message; }
    /**
     * Returns a line for logs: operation, HTTP status, message and request identifier, as far as they are known, such as
     * `environments.retrieve: 404 not_found: There is no environment "env_missing". (req_...)`.
     */
    const char *what() const noexcept
#ifdef ANTENV_EXCEPTIONS
        override
#endif
    {
        return data_->what.c_str();
    }
    /** Returns the whole error object, as JSON. */
    const std::string &json() const noexcept { return data_->json; }
    /** Returns the operation that failed, such as "environments.retrieve". */
    std::optional<std::string> operation() const { return member("/operation"); }
    /** Returns the HTTP status, when there was a response. */
    std::optional<int> http_status() const { return detail::int_at(data_->json, "/http_status"); }
    /** Returns the response's headers, as a JSON object with lower-case names; "{}" when there was no response. */
    std::string headers() const { return member("/headers").value_or("{}"); }
    /** Returns a header of the response. @param name Its name, in lower case, such as "retry-after". */
    std::optional<std::string> header(const std::string &name) const {
        std::string pointer = "/headers/";
        for (char c : name) pointer += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
        return member(pointer.c_str());
    }
    /** Returns how long the server asked to wait before the next attempt. */
    std::optional<std::chrono::milliseconds> retry_after() const {
        std::optional<int> wait = detail::int_at(data_->json, "/retry_after_ms");
        if (!wait) return std::nullopt;
        return std::chrono::milliseconds(*wait);
    }
    /** Returns the API's kind of error, such as "not_found_error". */
    std::optional<std::string> type() const { return member("/type"); }
    /** Returns the API's code for the cause, such as "environment_not_found". */
    std::optional<std::string> error_code() const { return member("/error_code"); }
    /** Returns what else the API says about the cause, as JSON; "null" when nothing. */
    std::string details() const { return member("/details").value_or("null"); }
    /** Returns the server's identifier of the request. */
    std::optional<std::string> request_id() const { return member("/request_id"); }
    /** Returns how many requests were made, retries included. */
    int attempts() const { return detail::int_at(data_->json, "/attempts").value_or(0); }
    /** Returns the parameter that was rejected. */
    std::optional<std::string> parameter() const { return member("/parameter"); }
    /** Returns the response's body: JSON, or plain text if it was not JSON; "null" when there was none. */
    std::string body() const { return member("/body").value_or("null"); }

private:
    struct data {
        antenv_status status;
        std::string json, message, what;
    };
    std::optional<std::string> member(const char *pointer) const { return detail::value_at(data_->json, pointer); }
    std::shared_ptr<data> data_;
};

/**
 * A value, or an error in its place, like std::expected. For `void` there is only the error.
 */
template <class T> class [[nodiscard]] result {
public:
    /** Creates one with a value. */
    result(T value) noexcept : is_(std::in_place_index<0>, std::move(value)) {}
    /** Creates one with an error. */
    result(antenv::error error) noexcept : is_(std::in_place_index<1>, std::move(error)) {}
    /** Returns whether there is a value. */
    bool has_value() const noexcept { return is_.index() == 0; }
    /** Returns whether there is a value. */
    explicit operator bool() const noexcept { return has_value(); }
    /** Returns the value, which must be there. */
    T &operator*() & noexcept { return *std::get_if<0>(&is_); }
    const T &operator*() const & noexcept { return *std::get_if<0>(&is_); }
    T operator*() && noexcept { return std::move(*std::get_if<0>(&is_)); }
    /** Accesses a member of the value, which must be there. */
    T *operator->() noexcept { return std::get_if<0>(&is_); }
    const T *operator->() const noexcept { return std::get_if<0>(&is_); }
    /** Returns the error, which must be there. */
    const antenv::error &error() const noexcept { return *std::get_if<1>(&is_); }
    /** Returns the value, or `other` if there is none. */
    T value_or(T other) && { return has_value() ? *std::move(*this) : std::move(other); }
#ifdef ANTENV_EXCEPTIONS
    /** Returns the value, or throws the error if there is none. */
    const T &value() const & { return has_value() ? **this : throw error(); }
    T value() && { return has_value() ? *std::move(*this) : throw error(); }
#endif

private:
    std::variant<T, antenv::error> is_;
};

template <> class [[nodiscard]] result<void> {
public:
    /** Creates one for a success. */
    result() noexcept = default;
    /** Creates one with an error. */
    result(antenv::error error) noexcept : error_(std::move(error)) {}
    /** Returns whether it succeeded. */
    bool has_value() const noexcept { return !error_; }
    /** Returns whether it succeeded. */
    explicit operator bool() const noexcept { return has_value(); }
    /** Returns the error, which must be there. */
    const antenv::error &error() const noexcept { return *error_; }
#ifdef ANTENV_EXCEPTIONS
    /** Throws the error if there is one. */
    void value() const {
        if (error_) throw *error_;
    }
#endif

private:
    std::optional<antenv::error> error_;
};

/** Reports failures as results. */
struct result_policy {
    template <class T> using of = result<T>;
    template <class T> static result<T> give(result<T> outcome) noexcept { return outcome; }
    static constexpr bool is_noexcept = true;
};

#ifdef ANTENV_EXCEPTIONS
/** Reports failures as exceptions. */
struct throw_policy {
    template <class T> using of = T;
    template <class T> static T give(result<T> outcome) { return std::move(outcome).value(); }
    static constexpr bool is_noexcept = false;
};
#endif

/**
 * A text that is passed on to the C interface: anything like a string, a JSON library's value that has `dump()`, or nothing (NULL
 * in C). It is copied only if no NUL terminates it. It must not outlive what it was made from.
 */
class text {
public:
    text() noexcept = default;
    text(std::nullptr_t) noexcept {}
    text(const char *string) noexcept : c_str_(string) {}
    text(const std::string &string) noexcept : c_str_(string.c_str()), is_whole_(std::strlen(c_str_) == string.size()) {}
    text(std::string_view view) : owned_(view), c_str_(nullptr), is_whole_(view.find('\0') == view.npos), is_owned_(true) {}
    template <class Json, class = std::enable_if_t<std::is_same_v<decltype(std::declval<const Json &>().dump()), std::string>>>
    text(const Json &value) : owned_(value.dump()), is_whole_(owned_.find('\0') == owned_.npos), is_owned_(true) {}
    /** Returns it as C takes it. */
    const char *c_str() const noexcept { return is_owned_ ? owned_.c_str() : c_str_; }
    /** Returns whether C sees all of it: not when there is a NUL inside. */
    bool is_whole() const noexcept { return is_whole_; }

private:
    std::string owned_;
    const char *c_str_ = nullptr;
    bool is_whole_ = true, is_owned_ = false;
};

namespace detail {

/** Returns the error for the first of these named texts that C would not see all of. */
inline std::optional<error> cut_short(std::initializer_list<std::pair<const char *, const text *>> texts) {
    for (auto [name, text] : texts) {
        if (text->is_whole()) continue;
        std::string message = std::string("`") + name + "` has a NUL character inside";
        return error(ANTENV_INVALID_ARGUMENT, R"({"status":"invalid_argument","code":1,"message":")" + message +
            R"(","http_status":null,"type":null,"error_code":null,"details":null,"request_id":null,"attempts":0,"parameter":")" +
            name + R"(","body":null,"operation":null,"headers":{},"retry_after_ms":null})");
    }
    return std::nullopt;
}

/** Calls a function that returns JSON. */
template <class Function> result<std::string> json(const Function &function) {
    char *out = nullptr;
    antenv_status status = function(&out);
    std::string text = take(out);
    if (status == ANTENV_OK) return result<std::string>(std::move(text)); // in full: C++17 would copy
    return error(status, std::move(text));
}

inline result<std::optional<std::string>> json_get(const text &json, const text &pointer) {
    if (auto cut = cut_short({{"json", &json}, {"pointer", &pointer}})) return std::move(*cut);
    char *out = nullptr;
    antenv_status status = antenv_json_get(json.c_str(), pointer.c_str(), &out);
    std::string value = take(out);
    if (status == ANTENV_OK) return std::optional<std::string>(std::move(value));
    if (status == ANTENV_DONE) return std::optional<std::string>();
    return error(status, std::move(value));
}

/** The name and the value of an identifier in an operation's path. */
using identifier = std::pair<const char *, const text *>;

/** Calls the C function of an operation. */
template <class Policy, class... Arguments, class... Identifiers>
typename Policy::template of<std::string> operation(antenv_client *client, antenv_status (*function)(antenv_client *, Arguments...),
    const text &params, const Identifiers &...identifiers) noexcept(Policy::is_noexcept) {
    if (auto cut = cut_short({identifiers..., {"params_json", &params}})) return Policy::template give<std::string>(std::move(*cut));
    return Policy::give(json([&](char **out) { return function(client, identifiers.second->c_str()..., params.c_str(), out); }));
}

/** Returns a text as a JSON string. */
inline std::string quoted(const std::string &text) {
    std::string json = "\"";
    for (char one : text) {
        if (static_cast<unsigned char>(one) < 0x20) {
            const char *digits = "0123456789abcdef";
            json.append("\\u00").append(1, digits[one >> 4]).append(1, digits[one & 15]);
        } else {
            if (one == '"' || one == '\\') json += '\\';
            json += one;
        }
    }
    return json + '"';
}

/** Returns parameters with identifiers among them. What is not an object stays as it is: the library rejects it. */
inline std::string with_identifiers(std::initializer_list<identifier> identifiers, const text &params) {
    const char *space = " \t\r\n";
    std::string given = params.c_str() ? params.c_str() : "{}", members;
    std::size_t open = given.find_first_not_of(space);
    if (open == std::string::npos || given[open] != '{') return given;
    std::size_t first = given.find_first_not_of(space, open + 1);
    bool is_empty = first != std::string::npos && given[first] == '}';
    for (auto [name, value] : identifiers) {
        if (value->c_str()) members += (members.empty() ? "" : ",") + quoted(name) + ":" + quoted(value->c_str());
    }
    if (!members.empty() && !is_empty) members += ',';
    return given.insert(open + 1, members);
}

/** Calls an operation that has no function of its own, by its name. */
template <class Policy, class... Identifiers>
typename Policy::template of<std::string> operation(
    antenv_client *client, const char *name, const text &params, const Identifiers &...identifiers) noexcept(Policy::is_noexcept) {
    if (auto cut = cut_short({identifiers..., {"params_json", &params}})) return Policy::template give<std::string>(std::move(*cut));
    std::string all = with_identifiers({identifiers...}, params);
    return Policy::give(json([&](char **out) { return antenv_call(client, name, all.c_str(), out); }));
}

/** Owns a handle. */
template <class Handle, antenv_status (*Free)(Handle *)> class owner {
public:
    owner() noexcept = default;
    explicit owner(Handle *handle) noexcept : handle_(handle) {}
    owner(owner &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    owner &operator=(owner &&other) noexcept {
        if (this != &other) {
            Free(handle_);
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    ~owner() { Free(handle_); }
    Handle *get() const noexcept { return handle_; }

private:
    Handle *handle_ = nullptr;
};

/** Calls a function that returns a handle. */
template <class T, class Handle, class Function> result<T> make_handle(const Function &function) {
    Handle *out = nullptr;
    char *error_json = nullptr;
    antenv_status status = function(&out, &error_json);
    if (status != ANTENV_OK) return error(status, take(error_json));
    return T(out);
}

} // namespace detail

#ifdef ANTENV_EXCEPTIONS
/**
 * Reads one value out of a JSON text, for programs without a JSON library. Does not block; every call reads the whole text.
 *
 * @param json The text.
 * @param pointer Which value, as a JSON pointer (RFC 6901), such as "/data/0/id".
 *
 * Returns a string as its text, any other value as JSON (`null` as "null"), nothing when there is no value at that place. Throws
 * antenv::error if the text is not JSON, the pointer is not a pointer, or the string cannot be a C string.
 */
inline std::optional<std::string> json_get(const text &json, const text &pointer) {
    return detail::json_get(json, pointer).value();
}
#endif

namespace nothrow {
/** Does what antenv::json_get does, and returns a result. */
inline result<std::optional<std::string>> json_get(const text &json, const text &pointer) noexcept {
    return detail::json_get(json, pointer);
}
} // namespace nothrow

/**
 * A ticket for a submitted call, which can cancel it. Destroying it does not cancel.
 */
class ticket {
public:
    /** Creates one without a call. */
    ticket() noexcept = default;
    /** Takes ownership of a ticket of the C interface. */
    explicit ticket(antenv_ticket *handle) noexcept : handle_(handle) {}
    /** Cancels the call, whose completion still arrives. Cancelling again changes nothing. Does not block. */
    antenv_status cancel() const noexcept { return antenv_ticket_cancel(handle_.get()); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_ticket *handle() const noexcept { return handle_.get(); }

private:
    detail::owner<antenv_ticket, antenv_ticket_free> handle_;
};

/**
 * The result of a submitted call.
 */
struct completion {
    /** The tag that was given with the call. */
    std::uint64_t tag;
    /** The call's JSON, or its error. */
    antenv::result<std::string> result;
};

template <class Policy> class basic_client;
template <class Policy> class basic_worker;
template <class Policy> class basic_lease;

// Generated by `make generate` from the operation table, down to the next such line: edit the table.

/**
 * The operations on the work queue of a self-hosted environment: what client.environments().work() returns. `list`, `poll`, `ack`
 * and `heartbeat` need the environment's key; `stats` and `stop` need either; `retrieve` and `update` need an API key. Each
 * function returns the response's JSON. Each blocks.
 */
template <class Policy> class basic_work {
public:
    using json = typename Policy::template of<std::string>;
    explicit basic_work(antenv_client *handle) noexcept : client_(handle) {}
    /** Lists work items, one page (List Work Items); client.pager(\"work.list\", ...) returns all. */
    json list(const text &environment_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_work_list, params,
            detail::identifier{"environment_id", &environment_id});
    }
    /**
     * Claims the next item (Poll for Work); returns `null` when there is none. Acknowledge the item soon, or another poll may
     * claim it. An item that is claimed while the call is being cancelled may be lost to this process until it is reclaimed.
     */
    json poll(const text &environment_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_work_poll, params,
            detail::identifier{"environment_id", &environment_id});
    }
    /** Returns the work queue's statistics (Get Queue Statistics). */
    json stats(const text &environment_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_work_stats, params,
            detail::identifier{"environment_id", &environment_id});
    }
    /** Retrieves an item (Get Work Item). */
    json retrieve(const text &environment_id, const text &work_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_work_retrieve, params,
            detail::identifier{"environment_id", &environment_id},
            detail::identifier{"work_id", &work_id});
    }
    /** Updates an item's metadata (Update Work Item). */
    json update(const text &environment_id, const text &work_id, const text &params) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_work_update, params,
            detail::identifier{"environment_id", &environment_id},
            detail::identifier{"work_id", &work_id});
    }
    /** Acknowledges an item (Acknowledge Work). It then leaves the queue. */
    json ack(const text &environment_id, const text &work_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_work_ack, params,
            detail::identifier{"environment_id", &environment_id},
            detail::identifier{"work_id", &work_id});
    }
    /**
     * Extends an item's lease (Record Heartbeat). Fails with ANTENV_PRECONDITION_FAILED when the last heartbeat is not the
     * expected one: another worker may hold the lease.
     */
    json heartbeat(const text &environment_id, const text &work_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_work_heartbeat, params,
            detail::identifier{"environment_id", &environment_id},
            detail::identifier{"work_id", &work_id});
    }
    /** Stops an item (Stop Work). Returns `null` when the server sends no content. */
    json stop(const text &environment_id, const text &work_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_work_stop, params,
            detail::identifier{"environment_id", &environment_id},
            detail::identifier{"work_id", &work_id});
    }

private:
    antenv_client *client_;
};

/**
 * The operations on the events of a session: what client.sessions().events() returns. They need an API key. Each function returns
 * the response's JSON. Each blocks.
 */
template <class Policy> class basic_session_events {
public:
    using json = typename Policy::template of<std::string>;
    explicit basic_session_events(antenv_client *handle) noexcept : client_(handle) {}
    /** Lists a session's events, one page (List Events); client.pager(\"sessions.events.list\", ...) returns all. */
    json list(const text &session_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, "sessions.events.list", params,
            detail::identifier{"session_id", &session_id});
    }
    /** Sends events to a session (Send Events). */
    json send(const text &session_id, const text &params) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, "sessions.events.send", params,
            detail::identifier{"session_id", &session_id});
    }

private:
    antenv_client *client_;
};

/**
 * The operations on the versions of a skill: what client.skills().versions() returns. They need an API key. Each function returns
 * the response's JSON. Each blocks.
 */
template <class Policy> class basic_skill_versions {
public:
    using json = typename Policy::template of<std::string>;
    explicit basic_skill_versions(antenv_client *handle) noexcept : client_(handle) {}
    /** Retrieves a version of a skill (Get Skill Version). */
    json retrieve(const text &skill_id, const text &version, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, "skills.versions.retrieve", params,
            detail::identifier{"skill_id", &skill_id},
            detail::identifier{"version", &version});
    }

private:
    antenv_client *client_;
};

/**
 * The operations on the memories of a memory store: what client.memory_stores().memories() returns. They need an API key. Each
 * function returns the response's JSON. Each blocks.
 */
template <class Policy> class basic_memories {
public:
    using json = typename Policy::template of<std::string>;
    explicit basic_memories(antenv_client *handle) noexcept : client_(handle) {}
    /** Creates a memory (Create a Memory). */
    json create(const text &memory_store_id, const text &params) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, "memory_stores.memories.create", params,
            detail::identifier{"memory_store_id", &memory_store_id});
    }
    /** Retrieves a memory (Retrieve a Memory). */
    json retrieve(const text &memory_store_id, const text &memory_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, "memory_stores.memories.retrieve", params,
            detail::identifier{"memory_store_id", &memory_store_id},
            detail::identifier{"memory_id", &memory_id});
    }
    /** Updates a memory (Update a Memory). Absent parameters change nothing. */
    json update(const text &memory_store_id, const text &memory_id, const text &params) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, "memory_stores.memories.update", params,
            detail::identifier{"memory_store_id", &memory_store_id},
            detail::identifier{"memory_id", &memory_id});
    }
    /**
     * Lists the memories of a memory store, one page (List Memories); client.pager(\"memory_stores.memories.list\", ...) returns
     * all.
     */
    json list(const text &memory_store_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, "memory_stores.memories.list", params,
            detail::identifier{"memory_store_id", &memory_store_id});
    }
    /** Deletes a memory (Delete a Memory). `delete` is a keyword of C++. */
    json remove(const text &memory_store_id, const text &memory_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, "memory_stores.memories.delete", params,
            detail::identifier{"memory_store_id", &memory_store_id},
            detail::identifier{"memory_id", &memory_id});
    }

private:
    antenv_client *client_;
};

/**
 * The operations on environments: what client.environments() returns. They need an API key. Each function returns the response's
 * JSON. Each blocks.
 */
template <class Policy> class basic_environments {
public:
    using json = typename Policy::template of<std::string>;
    explicit basic_environments(antenv_client *handle) noexcept : client_(handle) {}
    /** Returns the operations on the work queue of a self-hosted environment. */
    basic_work<Policy> work() const noexcept {
        return basic_work<Policy>(client_);
    }
    /** Creates an environment (Create Environment). */
    json create(const text &params) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_environments_create, params);
    }
    /** Lists environments, one page (List Environments); client.pager(\"environments.list\", ...) returns all. */
    json list(const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_environments_list, params);
    }
    /** Retrieves an environment (Get Environment). */
    json retrieve(const text &environment_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_environments_retrieve, params,
            detail::identifier{"environment_id", &environment_id});
    }
    /** Updates an environment (Update Environment). Absent parameters change nothing. */
    json update(const text &environment_id, const text &params) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_environments_update, params,
            detail::identifier{"environment_id", &environment_id});
    }
    /** Deletes an environment (Delete Environment). `delete` is a keyword of C++. */
    json remove(const text &environment_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_environments_delete, params,
            detail::identifier{"environment_id", &environment_id});
    }
    /** Archives an environment (Archive Environment). It takes no new sessions. */
    json archive(const text &environment_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, antenv_environments_archive, params,
            detail::identifier{"environment_id", &environment_id});
    }

private:
    antenv_client *client_;
};

/**
 * The operations on sessions: what client.sessions() returns. They need an API key. Each function returns the response's JSON.
 * Each blocks.
 */
template <class Policy> class basic_sessions {
public:
    using json = typename Policy::template of<std::string>;
    explicit basic_sessions(antenv_client *handle) noexcept : client_(handle) {}
    /** Returns the operations on the events of a session. */
    basic_session_events<Policy> events() const noexcept {
        return basic_session_events<Policy>(client_);
    }
    /** Creates a session (Create Session). */
    json create(const text &params) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, "sessions.create", params);
    }
    /** Retrieves a session (Get Session). */
    json retrieve(const text &session_id, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::operation<Policy>(client_, "sessions.retrieve", params,
            detail::identifier{"session_id", &session_id});
    }

private:
    antenv_client *client_;
};

/** The operations on skills: what client.skills() returns. */
template <class Policy> class basic_skills {
public:
    explicit basic_skills(antenv_client *handle) noexcept : client_(handle) {}
    /** Returns the operations on the versions of a skill. */
    basic_skill_versions<Policy> versions() const noexcept {
        return basic_skill_versions<Policy>(client_);
    }

private:
    antenv_client *client_;
};

/** The operations on memory stores: what client.memory_stores() returns. */
template <class Policy> class basic_memory_stores {
public:
    explicit basic_memory_stores(antenv_client *handle) noexcept : client_(handle) {}
    /** Returns the operations on the memories of a memory store. */
    basic_memories<Policy> memories() const noexcept {
        return basic_memories<Policy>(client_);
    }

private:
    antenv_client *client_;
};

// The end of what is generated.

/**
 * The items of a list, over all its pages, while the next page is being fetched: by next(), or once in a range-for. In a
 * range-for, a nothrow pager returns results, and an error is the last one. Threads may share a pager: each item goes to one of
 * them.
 */
template <class Policy> class basic_pager {
public:
    using item = typename Policy::template of<std::string>;
    /** Takes ownership of a pager of the C interface. */
    explicit basic_pager(antenv_pager *handle) noexcept : handle_(handle) {}
    /** Returns the next item's JSON; nothing at the end. After an error, the next call requests the same page again. Blocks. */
    typename Policy::template of<std::optional<std::string>> next() const noexcept(Policy::is_noexcept) {
        return Policy::give(take());
    }

    /** The iterator of a range-for. */
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = item;
        using difference_type = std::ptrdiff_t;
        using pointer = const item *;
        using reference = const item &;
        iterator() noexcept = default;
        explicit iterator(const basic_pager *pager) noexcept(Policy::is_noexcept) : pager_(pager) { ++*this; }
        reference operator*() const noexcept { return *item_; }
        pointer operator->() const noexcept { return &*item_; }
        iterator &operator++() noexcept(Policy::is_noexcept) {
            bool failed = failed_;
            result<std::optional<std::string>> taken = failed ? std::optional<std::string>() : pager_->take();
            item_.reset();
            failed_ = !taken;
            if (!taken) item_.emplace(Policy::template give<std::string>(taken.error()));
            else if (*taken) item_.emplace(std::move(**taken));
            else pager_ = nullptr;
            return *this;
        }
        void operator++(int) noexcept(Policy::is_noexcept) { ++*this; }
        bool operator==(const iterator &other) const noexcept { return pager_ == other.pager_; }
        bool operator!=(const iterator &other) const noexcept { return pager_ != other.pager_; }

    private:
        const basic_pager *pager_ = nullptr;
        std::optional<item> item_;
        bool failed_ = false;
    };
    iterator begin() const noexcept(Policy::is_noexcept) { return iterator(this); }
    iterator end() const noexcept { return iterator(); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_pager *handle() const noexcept { return handle_.get(); }

private:
    result<std::optional<std::string>> take() const {
        char *out = nullptr;
        antenv_status status = antenv_pager_next(handle_.get(), &out);
        std::string json = detail::take(out);
        if (status == ANTENV_OK) return std::optional<std::string>(std::move(json));
        if (status == ANTENV_DONE) return std::optional<std::string>();
        return error(status, std::move(json));
    }
    detail::owner<antenv_pager, antenv_pager_free> handle_;
};

/**
 * A client: credentials, defaults, and a pool of connections. Create one per credential and keep it; threads may share it.
 */
template <class Policy> class basic_client {
public:
    template <class T> using of = typename Policy::template of<T>;

    /** Creates a client; what the configuration leaves out comes from environment variables. Throws antenv::error. */
    template <class F = Policy, class = std::enable_if_t<!F::is_noexcept>>
    explicit basic_client(const text &config = {}) : basic_client(make(config)) {}
    /** Takes ownership of a client of the C interface. */
    explicit basic_client(antenv_client *handle) noexcept : handle_(handle) {}
    /** Creates a client; what the configuration leaves out comes from environment variables. Reads files; does not block. */
    static of<basic_client> make(const text &config = {}) noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"config_json", &config}})) return Policy::template give<basic_client>(std::move(*cut));
        return Policy::give(detail::make_handle<basic_client, antenv_client>(
            [&](antenv_client **out, char **error) { return antenv_client_new(config.c_str(), out, error); }));
    }
    /** Creates a client on the same connections, with another credential or other defaults. Does not block. */
    of<basic_client> derive(const text &config = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"config_json", &config}})) return Policy::template give<basic_client>(std::move(*cut));
        return Policy::give(detail::make_handle<basic_client, antenv_client>([&](antenv_client **out, char **error) {
            return antenv_client_derive(handle_.get(), config.c_str(), out, error);
        }));
    }
    /** Returns the operations on environments. */
    basic_environments<Policy> environments() const noexcept { return basic_environments<Policy>(handle_.get()); }
    /** Returns the operations on sessions and their events. */
    basic_sessions<Policy> sessions() const noexcept { return basic_sessions<Policy>(handle_.get()); }
    /** Returns the operations on the versions of skills. */
    basic_skills<Policy> skills() const noexcept { return basic_skills<Policy>(handle_.get()); }
    /** Returns the operations on the memories of memory stores. */
    basic_memory_stores<Policy> memory_stores() const noexcept { return basic_memory_stores<Policy>(handle_.get()); }
    /** Calls an operation by its name, such as "work.poll", with identifiers among the parameters. Blocks. */
    of<std::string> call(const text &operation, const text &params = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"operation", &operation}, {"params_json", &params}})) {
            return Policy::template give<std::string>(std::move(*cut));
        }
        return Policy::give(detail::json(
            [&](char **out) { return antenv_call(handle_.get(), operation.c_str(), params.c_str(), out); }));
    }
    /** Makes a request to any other endpoint. Blocks. @param method Such as "POST". @param path Such as "/v1/sessions". */
    of<std::string> request(const text &method, const text &path, const text &params = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"method", &method}, {"path", &path}, {"params_json", &params}})) {
            return Policy::template give<std::string>(std::move(*cut));
        }
        return Policy::give(detail::json(
            [&](char **out) { return antenv_request(handle_.get(), method.c_str(), path.c_str(), params.c_str(), out); }));
    }
    /** Creates a pager over a list ("environments.list" or "work.list"). Nothing is sent yet; does not block. */
    of<basic_pager<Policy>> pager(const text &operation, const text &params = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"operation", &operation}, {"params_json", &params}})) {
            return Policy::template give<basic_pager<Policy>>(std::move(*cut));
        }
        return Policy::give(detail::make_handle<basic_pager<Policy>, antenv_pager>([&](antenv_pager **out, char **error) {
            return antenv_pager_new(handle_.get(), operation.c_str(), params.c_str(), out, error);
        }));
    }
    /**
     * Adopts the lease on an item that another process claimed and released; what the configuration leaves out comes from
     * environment variables. antenv_lease_adopt documents the keys, the errors, and for how long it blocks.
     */
    of<basic_lease<Policy>> adopt(const text &config = {}) const noexcept(Policy::is_noexcept);
    /**
     * Creates a worker, which claims items of a work queue; what the configuration leaves out comes from this client and from
     * environment variables. It claims nothing before it is asked for an item. Does not block.
     */
    of<basic_worker<Policy>> worker(const text &config = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"config_json", &config}})) {
            return Policy::template give<basic_worker<Policy>>(std::move(*cut));
        }
        return Policy::give(detail::make_handle<basic_worker<Policy>, antenv_worker>([&](antenv_worker **out, char **error) {
            return antenv_worker_new(handle_.get(), config.c_str(), out, error);
        }));
    }
    /** Returns what the client did so far, as JSON. Does not block. */
    of<std::string> stats() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_client_stats(handle_.get(), out); }));
    }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_client *handle() const noexcept { return handle_.get(); }

private:
    detail::owner<antenv_client, antenv_client_free> handle_;
};

/**
 * A completion queue: calls are submitted without waiting, and their results collected. Destroying it cancels what is in flight.
 */
template <class Policy> class basic_queue {
public:
    template <class T> using of = typename Policy::template of<T>;

    /** Creates a queue. Throws antenv::error. */
    template <class F = Policy, class = std::enable_if_t<!F::is_noexcept>> basic_queue() : basic_queue(make()) {}
    /** Takes ownership of a queue of the C interface. */
    explicit basic_queue(antenv_queue *handle) noexcept : handle_(handle) {}
    /** Creates a queue. Does not block. */
    static of<basic_queue> make() noexcept(Policy::is_noexcept) {
        return Policy::give(detail::make_handle<basic_queue, antenv_queue>(antenv_queue_new));
    }
    /** Begins a call of any operation; one completion will arrive. Does not block. @param cancel Receives a ticket. */
    template <class F>
    of<void> submit(const basic_client<F> &through, const text &operation, const text &params, std::uint64_t tag,
        ticket *cancel = nullptr) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"operation", &operation}, {"params_json", &params}})) {
            return Policy::template give<void>(std::move(*cut));
        }
        return begin(cancel, [&](antenv_ticket **out, char **error) {
            return antenv_submit(through.handle(), handle_.get(), operation.c_str(), params.c_str(), tag, out, error);
        });
    }
    /** Begins a request to any other endpoint; one completion will arrive. Does not block. @param cancel Receives a ticket. */
    template <class F>
    of<void> submit_request(const basic_client<F> &through, const text &method, const text &path, const text &params,
        std::uint64_t tag, ticket *cancel = nullptr) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"method", &method}, {"path", &path}, {"params_json", &params}})) {
            return Policy::template give<void>(std::move(*cut));
        }
        return begin(cancel, [&](antenv_ticket **out, char **error) {
            return antenv_submit_request(
                through.handle(), handle_.get(), method.c_str(), path.c_str(), params.c_str(), tag, out, error);
        });
    }
    /**
     * Takes the next completion; nothing when none arrived in time, or when a signal handler ran in this thread. Blocks for at
     * most `timeout`.
     */
    of<std::optional<completion>> next(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        antenv_completion done;
        antenv_status status = antenv_queue_next(handle_.get(), timeout.count(), &done);
        std::optional<completion> outcome;
        if (status == ANTENV_OK) outcome.emplace(taken(done));
        else if (!has_none(status)) return Policy::template give<std::optional<completion>>(error(status, {}));
        return Policy::template give<std::optional<completion>>(std::move(outcome));
    }
    /**
     * Takes all completions that are there, waiting for the first; none in the cases of next(). Blocks for at most `timeout`.
     *
     * @param most How many at most, up to 64.
     */
    of<std::vector<completion>> next_many(std::chrono::milliseconds timeout = forever, std::size_t most = 64) const
        noexcept(Policy::is_noexcept) {
        struct batch {
            antenv_completion done[64];
            std::size_t at = 0, count = 0;
            ~batch() {
                while (at < count) antenv_string_free(done[at++].json);
            }
        } batch;
        antenv_status status = antenv_queue_next_many(
            handle_.get(), timeout.count(), batch.done, most < 64 ? most : 64, &batch.count);
        if (status != ANTENV_OK && !has_none(status)) {
            return Policy::template give<std::vector<completion>>(error(status, {}));
        }
        std::vector<completion> outcomes;
        outcomes.reserve(batch.count);
        while (batch.at < batch.count) outcomes.push_back(taken(batch.done[batch.at++]));
        return Policy::template give<std::vector<completion>>(std::move(outcomes));
    }
    /** Returns the descriptor to watch: readable exactly while a completion waits. Do not read, write or close it. -1: none. */
    int fd() const noexcept { return antenv_queue_fd(handle_.get()); }
    /** Delivers the library's log records to this queue. Does not block. @param filter As for antenv_log_subscribe. */
    of<void> subscribe_log(const text &filter, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"filter", &filter}})) return Policy::template give<void>(std::move(*cut));
        char *text = nullptr;
        antenv_status status = antenv_log_subscribe(handle_.get(), filter.c_str(), tag, &text);
        if (status != ANTENV_OK) return Policy::template give<void>(error(status, detail::take(text)));
        return Policy::template give<void>({});
    }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_queue *handle() const noexcept { return handle_.get(); }

private:
    static bool has_none(antenv_status status) noexcept {
        return status == ANTENV_TIMEOUT || status == ANTENV_INTERRUPTED;
    }
    static completion taken(const antenv_completion &done) {
        std::string json = detail::take(done.json);
        if (done.status == ANTENV_OK) return {done.tag, std::move(json)};
        return {done.tag, error(done.status, std::move(json))};
    }
    template <class Function> of<void> begin(ticket *cancel, const Function &function) const {
        antenv_ticket *handle = nullptr;
        char *text = nullptr;
        antenv_status status = function(cancel ? &handle : nullptr, &text);
        if (status != ANTENV_OK) return Policy::template give<void>(error(status, detail::take(text)));
        if (cancel) *cancel = ticket(handle);
        return Policy::template give<void>({});
    }
    detail::owner<antenv_queue, antenv_queue_free> handle_;
};

namespace detail {

/** Finishes a lease, ignoring failures, and frees its handle in any case. */
inline antenv_status finish(antenv_lease *lease) noexcept {
    if (!lease) return ANTENV_INVALID_HANDLE;
    char *json = nullptr;
    antenv_status status = antenv_lease_finish(lease, nullptr, &json);
    antenv_string_free(json);
    antenv_lease_abandon(lease); // in a forked child, which cannot finish it, the handle is not freed yet
    return status;
}

/** Converts the result of a function that returns only a status. */
template <class Policy> typename Policy::template of<void> done(antenv_status status) {
    if (status != ANTENV_OK) return Policy::template give<void>(error(status, {}));
    return Policy::template give<void>({});
}

} // namespace detail

/**
 * A lease on a work item: the library keeps it by heartbeats, whatever the program's threads do.
 *
 * Destroying a lease finishes it, if it was not ended before: the item is stopped, which blocks for at most a minute, and
 * failures are ignored. To have the item served again, call abandon().
 */
template <class Policy> class basic_lease {
public:
    template <class T> using of = typename Policy::template of<T>;
    /** Takes ownership of a lease of the C interface. @param item What item() returns. */
    explicit basic_lease(antenv_lease *handle, std::string item = {}) noexcept : handle_(handle), item_(std::move(item)) {}
    /** Returns the work item's JSON, verbatim, its `secret` too; of an adopted lease, what is known of the item. */
    const std::string &item() const noexcept { return item_; }
    /** Returns the lease's state, as JSON; antenv_lease_state documents its members. Does not block. */
    of<std::string> state() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_lease_state(handle_.get(), out); }));
    }
    /**
     * Waits until the lease is lost, or its item is to be stopped. Returns the state; nothing while it is still held. When
     * another thread ended the lease, that is an error, ANTENV_DONE. A signal does not end the wait. Blocks for at most
     * `timeout`.
     */
    of<std::optional<std::string>> wait(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        using outcome = std::optional<std::string>;
        result<std::string> state =
            detail::json([&](char **out) { return antenv_lease_wait(handle_.get(), timeout.count(), out); });
        if (state) return Policy::template give<outcome>(outcome(*std::move(state)));
        if (state.error().status() == ANTENV_TIMEOUT) return Policy::template give<outcome>(outcome());
        return Policy::template give<outcome>(state.error());
    }
    /** Waits until the lease is lost, also while its item is to be stopped. Otherwise as wait(). */
    of<std::optional<std::string>> wait_lost(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        using outcome = std::optional<std::string>;
        result<std::string> state =
            detail::json([&](char **out) { return antenv_lease_wait_lost(handle_.get(), timeout.count(), out); });
        if (state) return Policy::template give<outcome>(outcome(*std::move(state)));
        if (state.error().status() == ANTENV_TIMEOUT) return Policy::template give<outcome>(outcome());
        return Policy::template give<outcome>(state.error());
    }
    /** Reports by one completion that the lease is lost; ANTENV_DONE: it was ended. Does not block. */
    template <class F>
    of<void> attach_lost(const basic_queue<F> &queue, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        return detail::done<Policy>(antenv_lease_attach_lost(handle_.get(), queue.handle(), tag));
    }
    /** Reports by one completion that the lease is no longer simply held; ANTENV_DONE: it was ended. Does not block. */
    template <class F>
    of<void> attach(const basic_queue<F> &queue, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        return detail::done<Policy>(antenv_lease_attach(handle_.get(), queue.handle(), tag));
    }
    /** Creates a client with the item's own token, on the worker's connections. It may outlive the lease. Does not block. */
    of<basic_client<Policy>> client() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::make_handle<basic_client<Policy>, antenv_client>(
            [&](antenv_client **out, char **error) { return antenv_lease_client(handle_.get(), out, error); }));
    }
    /**
     * Stops the item and ends the lease; returns the item, or `null`. The lease is ended even if this fails, except with
     * ANTENV_INVALID_ARGUMENT. Ending it again gives ANTENV_INVALID_HANDLE. Blocks for at most the `timeout_ms` in `params`.
     */
    of<std::string> finish(const text &params = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"params_json", &params}})) return Policy::template give<std::string>(std::move(*cut));
        return Policy::give(
            detail::json([&](char **out) { return antenv_lease_finish(handle_.get(), params.c_str(), out); }));
    }
    /** Finishes the lease without waiting: one completion has the result of finish(). Does not block. */
    template <class F>
    of<void> submit_finish(const basic_queue<F> &queue, std::uint64_t tag, const text &params = {}) const
        noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"params_json", &params}})) return Policy::template give<void>(std::move(*cut));
        char *text = nullptr;
        antenv_status status = antenv_lease_submit_finish(handle_.get(), params.c_str(), queue.handle(), tag, &text);
        if (status != ANTENV_OK) return Policy::template give<void>(error(status, detail::take(text)));
        return Policy::template give<void>({});
    }
    /**
     * Ends the lease so that another process can go on with it, and returns what that must know, as JSON with secrets;
     * antenv_lease_release documents its members. Nothing is sent any more. The lease is ended even if this fails. Blocks
     * while the result of a heartbeat is unknown.
     */
    of<std::string> release() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_lease_release(handle_.get(), out); }));
    }
    /** Ends the lease without stopping the item, which the queue then hands out again. Does not block. */
    antenv_status abandon() const noexcept { return antenv_lease_abandon(handle_.get()); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_lease *handle() const noexcept { return handle_.get(); }

private:
    detail::owner<antenv_lease, detail::finish> handle_;
    std::string item_;
};

template <class Policy>
auto basic_client<Policy>::adopt(const text &config) const noexcept(Policy::is_noexcept) -> of<basic_lease<Policy>> {
    using lease = basic_lease<Policy>;
    if (auto cut = detail::cut_short({{"config_json", &config}})) return Policy::template give<lease>(std::move(*cut));
    struct unclaimed {
        antenv_lease *handle = nullptr;
        ~unclaimed() { antenv_lease_abandon(handle); }
    } taken;
    char *out = nullptr;
    antenv_status status = antenv_lease_adopt(handle_.get(), config.c_str(), &taken.handle, &out);
    std::string json = detail::take(out);
    if (status != ANTENV_OK) return Policy::template give<lease>(error(status, std::move(json)));
    return Policy::template give<lease>(lease(std::exchange(taken.handle, nullptr), std::move(json)));
}

/**
 * The result of waiting for a work item: its lease, or why there is none.
 */
template <class Policy> struct basic_claimed {
    /**
     * ANTENV_OK: there is one. ANTENV_TIMEOUT: none came in time. ANTENV_INTERRUPTED: a signal handler ran in the waiting thread.
     * ANTENV_DONE: nothing more will come.
     */
    antenv_status status;
    /** The lease, with ANTENV_OK. */
    std::optional<basic_lease<Policy>> lease;
};

/**
 * A worker: claims items of a self-hosted environment's work queue, and keeps their leases. Destroying it stops it; the leases
 * that it has handed out go on.
 *
 * Items come by next(), or in a range-for, which ends when nothing more will come. It finishes each lease at the end of the
 * loop's body, unless the lease was ended or moved away. (A nothrow worker returns results there, and an error is the last one.)
 * Threads may share a worker: each item goes to one of them. To serve four items at a time, configure "concurrency":4 and run
 * four loops, a thread each.
 *
 * When a signal handler runs in the waiting thread, a range-for ends with the error ANTENV_INTERRUPTED: what the handler requests
 * must not wait for the next item. Another range-for goes on from there. A program that ends by a signal should have a thread in
 * sigwait() that calls stop(): then the loops end by themselves.
 */
template <class Policy> class basic_worker {
public:
    template <class T> using of = typename Policy::template of<T>;
    using item = of<basic_lease<Policy>>;
    using claimed = basic_claimed<Policy>;
    /** Takes ownership of a worker of the C interface. */
    explicit basic_worker(antenv_worker *handle) noexcept : handle_(handle) {}
    /**
     * Waits for the next item and returns its lease; `status` says why there is none: none came in time, a signal handler ran in
     * this thread, or nothing more will come. An error: why the worker failed, from then on for every call. Blocks for at most
     * `timeout`.
     */
    of<claimed> next(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        return Policy::give(take(timeout));
    }

    /** The iterator of a range-for. */
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = item;
        using difference_type = std::ptrdiff_t;
        using pointer = item *;
        using reference = item &;
        iterator() noexcept = default;
        explicit iterator(const basic_worker *worker) noexcept(Policy::is_noexcept) : worker_(worker) { ++*this; }
        reference operator*() const noexcept { return *item_; }
        pointer operator->() const noexcept { return &*item_; }
        iterator &operator++() noexcept(Policy::is_noexcept) {
            item_.reset(); // stops the item first: by default a worker holds one at a time
            if (failed_) worker_ = nullptr;
            if (!worker_) return *this;
            result<claimed> taken = worker_->take(forever);
            if (taken && taken->status != ANTENV_OK && taken->status != ANTENV_DONE) taken = error(taken->status, {});
            failed_ = !taken;
            if (!taken) item_.emplace(Policy::template give<basic_lease<Policy>>(taken.error()));
            else if (taken->lease) item_.emplace(std::move(*taken->lease));
            else worker_ = nullptr;
            return *this;
        }
        void operator++(int) noexcept(Policy::is_noexcept) { ++*this; }
        bool operator==(const iterator &other) const noexcept { return worker_ == other.worker_; }
        bool operator!=(const iterator &other) const noexcept { return worker_ != other.worker_; }

    private:
        const basic_worker *worker_ = nullptr;
        mutable std::optional<item> item_;
        bool failed_ = false;
    };
    iterator begin() const noexcept(Policy::is_noexcept) { return iterator(this); }
    iterator end() const noexcept { return iterator(); }

    /**
     * Delivers items through a completion queue: one completion for each that is ready, after which next() with a timeout of zero
     * takes it; the last one has ANTENV_DONE, or the error for which the worker failed. From now on the worker claims as many
     * items as it may hold. Does not block.
     */
    template <class F>
    of<void> attach(const basic_queue<F> &queue, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        return detail::done<Policy>(antenv_worker_attach(handle_.get(), queue.handle(), tag));
    }
    /** Stops claiming: next() still returns what was claimed, and leases go on for `grace_ms`. Does not block. */
    of<void> stop() const noexcept(Policy::is_noexcept) { return detail::done<Policy>(antenv_worker_stop(handle_.get())); }
    /** Returns what the worker did so far, as JSON. Does not block. */
    of<std::string> stats() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_worker_stats(handle_.get(), out); }));
    }
    /** Returns the counts of stats() as text for Prometheus. Does not block. */
    of<std::string> metrics() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_worker_metrics(handle_.get(), out); }));
    }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_worker *handle() const noexcept { return handle_.get(); }

private:
    result<claimed> take(std::chrono::milliseconds timeout) const {
        struct unclaimed {
            antenv_lease *lease = nullptr;
            ~unclaimed() { antenv_lease_abandon(lease); }
        } taken;
        char *out = nullptr;
        antenv_status status = antenv_worker_next(handle_.get(), timeout.count(), &taken.lease, &out);
        std::string json = detail::take(out);
        if (status == ANTENV_OK) {
            return claimed{status, basic_lease<Policy>(std::exchange(taken.lease, nullptr), std::move(json))};
        }
        if (status == ANTENV_TIMEOUT || status == ANTENV_INTERRUPTED || status == ANTENV_DONE) return claimed{status, {}};
        return error(status, std::move(json));
    }
    detail::owner<antenv_worker, antenv_worker_free> handle_;
};

#ifdef ANTENV_EXCEPTIONS
using client = basic_client<throw_policy>;
using pager = basic_pager<throw_policy>;
using queue = basic_queue<throw_policy>;
using worker = basic_worker<throw_policy>;
using lease = basic_lease<throw_policy>;
using claimed = basic_claimed<throw_policy>;
#endif

namespace nothrow {
using client = basic_client<result_policy>;
using pager = basic_pager<result_policy>;
using queue = basic_queue<result_policy>;
using worker = basic_worker<result_policy>;
using lease = basic_lease<result_policy>;
using claimed = basic_claimed<result_policy>;
} // namespace nothrow

/**
 * Ends the library's thread and closes all connections: antenv_shutdown. Nothing has to call it; a later call starts the library
 * again.
 *
 * @param timeout How long calls in flight may take; the rest is cancelled.
 *
 * Returns whether all calls ended in time. Blocks for little longer than `timeout`.
 */
inline bool shutdown(std::chrono::milliseconds timeout = forever) noexcept {
    return antenv_shutdown(timeout.count()) == ANTENV_OK;
}

} // namespace ANTENV_FLAVOUR
} // namespace antenv

#endif
