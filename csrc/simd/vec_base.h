// Vectors for any machine: plain arrays, whose loops the compiler turns into SSE2, NEON or the like.
#pragma once

#include <cmath>
#include <cstring>

#include "simd/vec_scalar.h"

namespace {

template <class Scalar, class Int, int Width>
struct Lanes {
    using T = Scalar;
    struct V { alignas(Width * sizeof(T)) T a[Width]; };
    struct Mask { Int a[Width]; };
    static constexpr int W = Width;
    static constexpr int kRegisters = 16;
    static constexpr bool kRoughRsqrt = false;
    static constexpr bool kVeryRoughRsqrt = false;

#define EFM_LANES(expression)                        \
    V r;                                             \
    for (int i = 0; i < W; ++i) r.a[i] = expression; \
    return r;
    static inline V load(const T* p) { EFM_LANES(p[i]) }
    static inline V set(T a) { EFM_LANES(a) }
    static inline V add(V a, V b) { EFM_LANES(a.a[i] + b.a[i]) }
    static inline V sub(V a, V b) { EFM_LANES(a.a[i] - b.a[i]) }
    static inline V mul(V a, V b) { EFM_LANES(a.a[i] * b.a[i]) }
    static inline V div(V a, V b) { EFM_LANES(a.a[i] / b.a[i]) }
    static inline V fma(V a, V b, V c) { EFM_LANES(a.a[i] * b.a[i] + c.a[i]) }
    static inline V fnma(V a, V b, V c) { EFM_LANES(c.a[i] - a.a[i] * b.a[i]) }
    static inline V min(V a, V b) { EFM_LANES(a.a[i] < b.a[i] ? a.a[i] : b.a[i]) }
    static inline V max(V a, V b) { EFM_LANES(a.a[i] > b.a[i] ? a.a[i] : b.a[i]) }
    static inline V select(Mask m, V yes, V no) { EFM_LANES(m.a[i] ? yes.a[i] : no.a[i]) }
    static inline V rsqrt_rough(V a) { EFM_LANES(T(1) / std::sqrt(a.a[i])) }
    static inline V round(V a) { EFM_LANES(std::nearbyint(a.a[i])) }
#undef EFM_LANES
    static inline void store(T* p, V a) {
        for (int i = 0; i < W; ++i) p[i] = a.a[i];
    }
    static inline Mask less(V a, V b) {
        Mask r;
        for (int i = 0; i < W; ++i) r.a[i] = a.a[i] < b.a[i];
        return r;
    }
    static inline Mask both(Mask a, Mask b) {
        for (int i = 0; i < W; ++i) a.a[i] &= b.a[i];
        return a;
    }
    static inline bool any(Mask m) {
        Int r = 0;
        for (int i = 0; i < W; ++i) r |= m.a[i];
        return r != 0;
    }
    static inline void fold(double* acc, V a) {
        for (int i = 0; i < W; ++i) acc[i] += a.a[i];
    }
    // n is a whole number in [-126, 127]. A lane whose result is thrown away may hold any n, also infinity, whose cast to
    // an int is undefined; hence the bound.
    static inline V scale2(V a, V n) {
        V r;
        for (int i = 0; i < W; ++i) {
            int32_t bits = (static_cast<int32_t>(n.a[i] < 127.0f ? n.a[i] : 127.0f) + 127) << 23;
            float factor;
            std::memcpy(&factor, &bits, 4);
            r.a[i] = a.a[i] * factor;
        }
        return r;
    }
    static inline V split(V a, V* e) {  // a = mantissa * 2^e with the mantissa in [0.75, 1.5), for normal a
        V r;
        for (int i = 0; i < W; ++i) {
            int32_t bits;
            std::memcpy(&bits, &a.a[i], 4);
            int32_t k = (bits - 0x3f400000) >> 23;
            e->a[i] = static_cast<T>(k);
            bits -= k * (1 << 23);
            float mant;
            std::memcpy(&mant, &bits, 4);
            r.a[i] = mant;
        }
        return r;
    }
};

using F32 = Lanes<float, int32_t, 8>;
using F64 = Lanes<double, int64_t, 4>;

}  // namespace
