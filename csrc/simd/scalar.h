// A single number with the functions of a vector, so that a formula is written once for both.
#pragma once

#include <math.h>

namespace {

template <class Number>
struct Scalar {
    using T = Number;
    using V = Number;
    static constexpr int W = 1;
    static constexpr bool kRoughRsqrt = false;
    static constexpr bool kVeryRoughRsqrt = false;
    static inline V load(const T* p) { return *p; }
    static inline void store(T* p, V a) { *p = a; }
    static inline V set(T a) { return a; }
    static inline V add(V a, V b) { return a + b; }
    static inline V sub(V a, V b) { return a - b; }
    static inline V mul(V a, V b) { return a * b; }
    static inline V div(V a, V b) { return a / b; }
    static inline V fma(V a, V b, V c) { return a * b + c; }
    static inline V fnma(V a, V b, V c) { return c - a * b; }
    static inline V rsqrt_rough(V a) {
        if constexpr (sizeof(V) == sizeof(double)) return V(1) / ::sqrt(a);
        else return V(1) / ::sqrtl(a);
    }
};

}  // namespace
