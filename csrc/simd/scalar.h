// A single number under the names of a vector, so that a formula is written once for both.
#pragma once

#include <stdint.h>

namespace {

template <class Number>
struct Scalar {
    using T = Number;
    using V = Number;
    static constexpr int W = 1;
    static inline V load(const T* p) { return *p; }
    static inline void store(T* p, V a) { *p = a; }
    static inline V set(T a) { return a; }
    static inline V add(V a, V b) { return a + b; }
    static inline V sub(V a, V b) { return a - b; }
    static inline V mul(V a, V b) { return a * b; }
    static inline V div(V a, V b) { return a / b; }
};

}  // namespace
