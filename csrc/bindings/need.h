// What the bindings ask of their arguments. A wrong one is an error in Python there and would be a crash below.
#pragma once

#include <stdexcept>

namespace efm {

inline void need(bool holds, const char* text) {
    if (!holds) throw std::invalid_argument(text);
}

}  // namespace efm
