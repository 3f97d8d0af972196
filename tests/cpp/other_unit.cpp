// Another translation unit with the header in it, to be linked with one of the others, also with other flags.
#include <antenv.hpp>

antenv_status refused() { return antenv::nothrow::client::make("{\"nonsense\":1}").error().status(); }
