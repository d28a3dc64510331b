// Vectors of 16 floats or 8 doubles (AVX-512 F, DQ). Included only by units compiled for that instruction set.
#pragma once

#include <immintrin.h>

#include "simd/vec_scalar.h"

namespace {

struct F32 {
    using T = float;
    using V = __m512;
    using Mask = __mmask16;
    static constexpr int W = 16;
    static constexpr int kRegisters = 32;
    static constexpr bool kRoughRsqrt = true;  // relative error up to 2^-14
    static constexpr bool kVeryRoughRsqrt = false;

    static inline V load(const T* p) { return _mm512_loadu_ps(p); }
    static inline void store(T* p, V a) { _mm512_storeu_ps(p, a); }
    static inline V set(T a) { return _mm512_set1_ps(a); }
    static inline V add(V a, V b) { return _mm512_add_ps(a, b); }
    static inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
    static inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
    static inline V div(V a, V b) { return _mm512_div_ps(a, b); }
    static inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
    static inline V fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
    static inline V min(V a, V b) { return _mm512_min_ps(a, b); }
    static inline V max(V a, V b) { return _mm512_max_ps(a, b); }
    static inline Mask less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
    static inline Mask both(Mask a, Mask b) { return a & b; }
    static inline bool any(Mask m) { return m != 0; }
    static inline V select(Mask m, V yes, V no) { return _mm512_mask_blend_ps(m, no, yes); }
    static inline V rsqrt_rough(V a) { return _mm512_rsqrt14_ps(a); }
    static inline void fold(double* acc, V a) {
        __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
        __m512d hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
        _mm512_storeu_pd(acc, _mm512_add_pd(_mm512_loadu_pd(acc), lo));
        _mm512_storeu_pd(acc + 8, _mm512_add_pd(_mm512_loadu_pd(acc + 8), hi));
    }
    static inline V round(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static inline V scale2(V a, V n) { return _mm512_scalef_ps(a, n); }
    // a = mantissa * 2^e with the mantissa in [0.75, 1.5)
    static inline V split(V a, V* e) {
        V mant = _mm512_getmant_ps(a, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
        Mask up = _mm512_cmp_ps_mask(mant, _mm512_set1_ps(1.0f), _CMP_LT_OQ);
        V exponent = _mm512_getexp_ps(a);
        *e = _mm512_mask_add_ps(exponent, up, exponent, _mm512_set1_ps(1.0f));
        return mant;
    }
};

struct F64 {
    using T = double;
    using V = __m512d;
    using Mask = __mmask8;
    static constexpr int W = 8;
    static constexpr bool kRoughRsqrt = false;
    static constexpr bool kVeryRoughRsqrt = false;

    static inline V load(const T* p) { return _mm512_loadu_pd(p); }
    static inline void store(T* p, V a) { _mm512_storeu_pd(p, a); }
    static inline V set(T a) { return _mm512_set1_pd(a); }
    static inline V add(V a, V b) { return _mm512_add_pd(a, b); }
    static inline V sub(V a, V b) { return _mm512_sub_pd(a, b); }
    static inline V mul(V a, V b) { return _mm512_mul_pd(a, b); }
    static inline V div(V a, V b) { return _mm512_div_pd(a, b); }
    static inline V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
    static inline V fnma(V a, V b, V c) { return _mm512_fnmadd_pd(a, b, c); }
    static inline V min(V a, V b) { return _mm512_min_pd(a, b); }
    static inline V max(V a, V b) { return _mm512_max_pd(a, b); }
    static inline Mask less(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
    static inline Mask both(Mask a, Mask b) { return a & b; }
    static inline bool any(Mask m) { return m != 0; }
    static inline V select(Mask m, V yes, V no) { return _mm512_mask_blend_pd(m, no, yes); }
    static inline V rsqrt_rough(V a) {
        V y = _mm512_rsqrt14_pd(a);
        for (int k = 0; k < 2; ++k) {  // 2^-14 -> 2^-27 -> 2^-53
            V e = _mm512_fnmadd_pd(_mm512_mul_pd(a, y), y, _mm512_set1_pd(1.0));
            y = _mm512_fmadd_pd(_mm512_mul_pd(y, _mm512_set1_pd(0.5)), e, y);
        }
        return y;
    }
    static inline void fold(double* acc, V a) { _mm512_storeu_pd(acc, _mm512_add_pd(_mm512_loadu_pd(acc), a)); }
};

}  // namespace
