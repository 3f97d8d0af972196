/* Sessions that are served, and the calls of an agent's tools: a part of antenv.hpp. */

#ifndef ANTENV_SESSION_HPP
#define ANTENV_SESSION_HPP

#include "result.hpp"

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
    /** Lets the call go, from any thread. Does not block. */
    antenv_status let_go() const noexcept { return antenv_tool_call_free(handle_.get()); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_tool_call *handle() const noexcept { return handle_.get(); }

private:
    detail::owner<antenv_tool_call, antenv_tool_call_free> handle_;
    std::string event_;
};

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
