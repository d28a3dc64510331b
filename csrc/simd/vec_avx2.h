// Vectors of 8 floats or 4 doubles (AVX2, FMA). Included only by units compiled for that instruction set.
#pragma once

#include <immintrin.h>

#include "simd/vec_scalar.h"

namespace {

struct F32 {
    using T = float;
    using V = __m256;
    using Mask = __m256;
    static constexpr int W = 8;
    static constexpr int kRegisters = 16;
    static constexpr bool kRoughRsqrt = true;
    static constexpr bool kVeryRoughRsqrt = true;  // relative error up to 1.5 * 2^-12

    static inline V load(const T* p) { return _mm256_loadu_ps(p); }
    static inline void store(T* p, V a) { _mm256_storeu_ps(p, a); }
    static inline V set(T a) { return _mm256_set1_ps(a); }
    static inline V add(V a, V b) { return _mm256_add_ps(a, b); }
    static inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
    static inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
    static inline V div(V a, V b) { return _mm256_div_ps(a, b); }
    static inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
    static inline V fnma(V a, V b, V c) { return _mm256_fnmadd_ps(a, b, c); }
    static inline V min(V a, V b) { return _mm256_min_ps(a, b); }
    static inline V max(V a, V b) { return _mm256_max_ps(a, b); }
    static inline Mask less(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
    static inline Mask both(Mask a, Mask b) { return _mm256_and_ps(a, b); }
    static inline bool any(Mask m) { return _mm256_movemask_ps(m) != 0; }
    static inline V select(Mask m, V yes, V no) { return _mm256_blendv_ps(no, yes, m); }
    static inline V rsqrt_rough(V a) { return _mm256_rsqrt_ps(a); }
    static inline void fold(double* acc, V a) {
        __m256d lo = _mm256_cvtps_pd(_mm256_castps256_ps128(a));
        __m256d hi = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
        _mm256_storeu_pd(acc, _mm256_add_pd(_mm256_loadu_pd(acc), lo));
        _mm256_storeu_pd(acc + 4, _mm256_add_pd(_mm256_loadu_pd(acc + 4), hi));
    }
    static inline V round(V a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static inline V scale2(V a, V n) {  // n a whole number in [-126, 127]
        __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
        return _mm256_mul_ps(a, _mm256_castsi256_ps(bits));
    }
    // a = mantissa * 2^e with the mantissa in [0.75, 1.5), for normal a
    static inline V split(V a, V* e) {
        __m256i bits = _mm256_castps_si256(a);
        __m256i k = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(0x3f400000)), 23);
        *e = _mm256_cvtepi32_ps(k);
        return _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(k, 23)));
    }
};

struct F64 {
    using T = double;
    using V = __m256d;
    using Mask = __m256d;
    static constexpr int W = 4;
    static constexpr bool kRoughRsqrt = false;
    static constexpr bool kVeryRoughRsqrt = false;

    static inline V load(const T* p) { return _mm256_loadu_pd(p); }
    static inline void store(T* p, V a) { _mm256_storeu_pd(p, a); }
    static inline V set(T a) { return _mm256_set1_pd(a); }
    static inline V add(V a, V b) { return _mm256_add_pd(a, b); }
    static inline V sub(V a, V b) { return _mm256_sub_pd(a, b); }
    static inline V mul(V a, V b) { return _mm256_mul_pd(a, b); }
    static inline V div(V a, V b) { return _mm256_div_pd(a, b); }
    static inline V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
    static inline V fnma(V a, V b, V c) { return _mm256_fnmadd_pd(a, b, c); }
    static inline V min(V a, V b) { return _mm256_min_pd(a, b); }
    static inline V max(V a, V b) { return _mm256_max_pd(a, b); }
    static inline Mask less(V a, V b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
    static inline Mask both(Mask a, Mask b) { return _mm256_and_pd(a, b); }
    static inline bool any(Mask m) { return _mm256_movemask_pd(m) != 0; }
    static inline V select(Mask m, V yes, V no) { return _mm256_blendv_pd(no, yes, m); }
    static inline V rsqrt_rough(V a) { return _mm256_div_pd(_mm256_set1_pd(1.0), _mm256_sqrt_pd(a)); }
    static inline void fold(double* acc, V a) { _mm256_storeu_pd(acc, _mm256_add_pd(_mm256_loadu_pd(acc), a)); }
};

}  // namespace
