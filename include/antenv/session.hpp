/* Sessions that are served, and the calls of an agent's tools: a part of antenv.hpp. */

#ifndef ANTENV_SESSION_HPP
#define ANTENV_SESSION_HPP

#include "result.hpp"

#include <functional>
#include <map>

namespace antenv {
inline namespace ANTENV_FLAVOUR {

template <class Policy> class basic_queue;

/**
 * A call of one of the program's tools. Destroying it without a reply lets it go: it is left to other clients.
 */
template <class Policy> class basic_tool_call {
public:
    template <class T> using of = typename Policy::template of<T>;
    /** Takes ownership of a call of the C interface. @param event What event() returns. */
    explicit basic_tool_call(antenv_tool_call *handle, std::string event = {}) noexcept
        : handle_(handle), event_(std::move(event)) {}
    /** Returns the event of the call, verbatim: `id`, `name`, `input` and more. */
    const std::string &event() const noexcept { return event_; }
    /** Returns the event's `input`, as JSON. */
    std::string input() const { return detail::value_at(event_, "/input").value_or("{}"); }
    /**
     * Posts the result, and ends the call. @param result {"content": text or blocks, "is_error": boolean}, as
     * antenv_tool_call_reply documents it. The error ANTENV_CANCELLED: the call needs no reply any more. Blocks until the session
     * has the result.
     */
    of<std::string> reply(const text &result) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"result_json", &result}})) return Policy::template give<std::string>(std::move(*cut));
        return Policy::give(
            detail::json([&](char **out) { return antenv_tool_call_reply(handle_.get(), result.c_str(), out); }));
    }
    /** Replies without waiting: one completion has the result of reply(). Does not block. */
    template <class F>
    of<void> submit_reply(const text &result, const basic_queue<F> &queue, std::uint64_t tag) const
        noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"result_json", &result}})) return Policy::template give<void>(std::move(*cut));
        char *out = nullptr;
        antenv_status status = antenv_tool_call_submit_reply(handle_.get(), result.c_str(), queue.handle(), tag, &out);
        if (status != ANTENV_OK) return Policy::template give<void>(error(status, detail::take(out)));
        return Policy::template give<void>({});
    }
    /**
     * Waits until the call needs no reply any more. Returns why, as {"reason":...}; nothing while it needs one. When another
     * thread has replied, that is an error, ANTENV_DONE; a signal in the waiting thread is the error ANTENV_INTERRUPTED. Blocks
     * for at most `timeout`.
     */
    of<std::optional<std::string>> wait(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        using outcome = std::optional<std::string>;
        result<std::string> why =
            detail::json([&](char **out) { return antenv_tool_call_wait(handle_.get(), timeout.count(), out); });
        if (why) return Policy::template give<outcome>(outcome(*std::move(why)));
        if (why.error().status() == ANTENV_TIMEOUT) return Policy::template give<outcome>(outcome());
        return Policy::template give<outcome>(why.error());
    }
    /**
     * Reports by one completion that the call needs no reply any more: why, or the error ANTENV_DONE when it was replied to or
     * let go. Does not block.
     */
    template <class F> of<void> attach(const basic_queue<F> &queue, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        return detail::done<Policy>(antenv_tool_call_attach(handle_.get(), queue.handle(), tag));
    }
    /** Lets the call go, from any thread. Does not block. */
    antenv_status let_go() const noexcept { return antenv_tool_call_free(handle_.get()); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_tool_call *handle() const noexcept { return handle_.get(); }

private:
    detail::owner<antenv_tool_call, antenv_tool_call_free> handle_;
    std::string event_;
};

/**
 * The result of a tool. A string converts to one that is a text.
 */
class tool_result {
public:
    /** Creates one that is a text. */
    tool_result(const std::string &text) : json_("{\"content\":" + detail::quoted(text) + "}") {}
    /** Creates one that is a text. */
    tool_result(const char *text) : tool_result(std::string(text)) {}
    /** Creates one that says that the tool failed, and why. */
    static tool_result failure(const std::string &why) { return {"{\"is_error\":true,\"content\":", detail::quoted(why)}; }
    /**
     * Creates one of blocks.
     * @param json An array, as antenv_tool_call_reply documents it.
     * @param is_error Whether the tool failed.
     */
    static tool_result blocks(const text &json, bool is_error = false) {
        return {is_error ? "{\"is_error\":true,\"content\":" : "{\"content\":", json.c_str() ? json.c_str() : "null"};
    }
    /** Returns what antenv_tool_call_reply takes. */
    const std::string &json() const noexcept { return json_; }

private:
    tool_result(const char *begin, const std::string &content) : json_(begin + content + "}") {}
    std::string json_;
};

/**
 * The tools of a program by their names. A tool runs in the thread that called run(); one that takes long should look at the
 * call's wait(), with a timeout of zero, and return when the call needs no reply any more. A std::exception that it throws
 * becomes a failure with its what(); other exceptions pass through run() and let the call go, or end the program if that is
 * noexcept.
 */
template <class Policy>
using basic_tools = std::map<std::string, std::function<tool_result(const basic_tool_call<Policy> &call)>>;

namespace detail {

/** Runs a call's tool, and replies. A call of a tool that is not there is let go by its owner. */
template <class Policy> void run_tool(const basic_tools<Policy> &tools, const basic_tool_call<Policy> &call) {
    auto found = tools.find(value_at(call.event(), "/name").value_or(""));
    if (found == tools.end() || !found->second) return;
    auto returned = [&]() -> tool_result {
#ifdef ANTENV_EXCEPTIONS
        try {
            return found->second(call);
        } catch (const std::exception &failure) {
            return tool_result::failure(failure.what());
        }
#else
        return found->second(call);
#endif
    };
    auto reply = [&](const tool_result &result) {
        return json([&](char **out) { return antenv_tool_call_reply(call.handle(), result.json().c_str(), out); });
    };
    auto replied = reply(returned());
    // Not a result that can be sent. Any other failure needs nothing: the call is void, or the library keeps the result.
    if (!replied && replied.error().status() == ANTENV_INVALID_ARGUMENT) {
        (void)reply(tool_result::failure(replied.error().message()));
    }
}

} // namespace detail

/**
 * The result of waiting for a call: the call, or why there is none.
 */
template <class Policy> struct basic_called {
    /**
     * ANTENV_OK: there is one. ANTENV_TIMEOUT: none came in time. ANTENV_INTERRUPTED: a signal handler ran in the waiting thread.
     * ANTENV_DONE: the session is over.
     */
    antenv_status status;
    /** The call, with ANTENV_OK. */
    std::optional<basic_tool_call<Policy>> call;
    /** Why the session is over, as {"reason":...}; empty before. */
    std::string end;
};

/**
 * A session that is being served; basic_lease::serve makes it. Destroying it ends that: the calls become void, nothing is sent.
 * Threads may share it: each call goes to one of them.
 */
template <class Policy> class basic_session {
public:
    template <class T> using of = typename Policy::template of<T>;
    using called = basic_called<Policy>;
    /** Takes ownership of a session of the C interface. */
    explicit basic_session(antenv_session *handle) noexcept : handle_(handle) {}
    /**
     * Waits for the next call and returns it; `status` says why there is none. An error: what the server refuses permanently
     * (antenv_session_next lists them). Blocks for at most `timeout`.
     */
    of<called> next(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        return Policy::give(take(timeout));
    }
    /**
     * Serves the session to its end: runs the tools that are called, one after the other, and replies with what they return.
     * Returns why the session is over, as {"reason":...}. Calls of other tools are let go. A result that the server does not take
     * is kept by the library, which sends it again if the session still waits for it. With "concurrency":4 four threads may call
     * this, and four calls run at once.
     *
     * An error: those of next(), and ANTENV_INTERRUPTED when a signal handler ran in the waiting thread: call again to go on.
     * Blocks until the session is over.
     */
    of<std::string> run(const basic_tools<Policy> &tools) const noexcept(Policy::is_noexcept) {
        while (true) {
            result<called> next = take(forever);
            if (!next) return Policy::template give<std::string>(next.error());
            if (next->status == ANTENV_DONE) return Policy::template give<std::string>(std::move(next->end));
            if (!next->call) return Policy::template give<std::string>(error(next->status, {}));
            detail::run_tool(tools, *next->call);
        }
    }
    /** Reports each call that is ready by a completion; next() with no timeout then takes it. Does not block. */
    template <class F> of<void> attach(const basic_queue<F> &queue, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        return detail::done<Policy>(antenv_session_attach(handle_.get(), queue.handle(), tag));
    }
    /** Returns what happened so far, as JSON; antenv_session_stats documents its members. Does not block. */
    of<std::string> stats() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_session_stats(handle_.get(), out); }));
    }
    /** Ends serving the session, from any thread: threads that wait fail with ANTENV_CLOSED. Does not block. */
    antenv_status close() const noexcept { return antenv_session_free(handle_.get()); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_session *handle() const noexcept { return handle_.get(); }

private:
    result<called> take(std::chrono::milliseconds timeout) const {
        struct untaken {
            antenv_tool_call *call = nullptr;
            ~untaken() { antenv_tool_call_free(call); }
        } taken;
        char *out = nullptr;
        antenv_status status = antenv_session_next(handle_.get(), timeout.count(), &taken.call, &out);
        std::string json = detail::take(out);
        if (status == ANTENV_OK) {
            return called{status, basic_tool_call<Policy>(std::exchange(taken.call, nullptr), std::move(json)), {}};
        }
        if (status == ANTENV_TIMEOUT || status == ANTENV_INTERRUPTED || status == ANTENV_DONE) {
            return called{status, {}, std::move(json)};
        }
        return error(status, std::move(json));
    }
    detail::owner<antenv_session, antenv_session_free> handle_;
};

} // namespace ANTENV_FLAVOUR
} // namespace antenv

#endif
