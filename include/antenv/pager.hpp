/* The items of a list, over all its pages: a part of antenv.hpp. */

#ifndef ANTENV_PAGER_HPP
#define ANTENV_PAGER_HPP

#include "result.hpp"

namespace antenv {
inline namespace ANTENV_FLAVOUR {

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
        return Policy::give(take_item());
    }

    /** The iterator of a range-for. */
    using iterator = detail::item_iterator<Policy, basic_pager>;
    iterator begin() const noexcept(Policy::is_noexcept) { return iterator(this); }
    iterator end() const noexcept { return iterator(); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_pager *handle() const noexcept { return handle_.get(); }

private:
    friend iterator;
    result<std::optional<std::string>> take_item() const {
        char *out = nullptr;
        antenv_status status = antenv_pager_next(handle_.get(), &out);
        std::string json = detail::take(out);
        if (status == ANTENV_OK) return std::optional<std::string>(std::move(json));
        if (status == ANTENV_DONE) return std::optional<std::string>();
        return error(status, std::move(json));
    }
    detail::owner<antenv_pager, antenv_pager_free> handle_;
};

} // namespace ANTENV_FLAVOUR
} // namespace antenv

#endif
