// What the C++ tests share: a check that says where it failed.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                                                                                                             \
    do {                                                                                                                             \
        if (!(condition)) {                                                                                                          \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                             \
            std::exit(1);                                                                                                            \
        }                                                                                                                            \
    } while (0)

#endif
