// A second translation unit with the header in it: nothing may be defined twice.
#include <antenv.hpp>

std::string_view version_elsewhere() { return antenv::version(); }
