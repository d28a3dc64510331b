// Powers, logarithms and exponentials on vectors (S is F32 or F64 of vec_*.h) and on single numbers (Scalar).
#pragma once

#include <math.h>

namespace {

// a^p for a whole p known to the compiler
template <class S, int p>
inline typename S::V whole_power(typename S::V a) {
    if constexpr (p == 1) {
        return a;
    } else if constexpr (p % 2 == 1) {
        return S::mul(a, whole_power<S, p - 1>(a));
    } else {
        typename S::V half = whole_power<S, p / 2>(a);
        return S::mul(half, half);
    }
}

// u^(-p/2): takes a rough reciprocal root y and corrects its error e = 1 - u y^2 by the series of (1 - e)^(-p/2).
template <class S, int p>
inline typename S::V inverse_power(typename S::V u) {
    using V = typename S::V;
    using T = typename S::T;
    V y = S::rsqrt_rough(u);
    if constexpr (!S::kRoughRsqrt) return whole_power<S, p>(y);
    V y2 = S::mul(y, y);
    V e = S::fnma(u, y2, S::set(T(1)));
    V yp;
    if constexpr (p % 2 == 0) yp = whole_power<S, p / 2>(y2);
    else if constexpr (p == 1) yp = y;
    else yp = S::mul(y, whole_power<S, (p - 1) / 2>(y2));
    constexpr T first = T(p) / 2, second = first * (first + 1) / 2;
    if constexpr (p <= 3 && !S::kVeryRoughRsqrt) {
        return S::fma(S::mul(yp, S::set(first)), e, yp);  // the terms left out are below 2^-25
    } else {
        V series = S::fma(S::set(second), e, S::set(first));
        return S::fma(S::mul(yp, series), e, yp);
    }
}

template <class S>
inline typename S::V reciprocal_root(typename S::V u) {
    return inverse_power<S, 1>(u);
}

// log2(1 + t) for t >= 0, in float, with an error of about 1e-7 of the result
template <class S>
inline typename S::V log2_1p(typename S::V t) {
    using V = typename S::V;
    const V one = S::set(1.0f);
    V u = S::add(one, t);
    V rounding = S::sub(t, S::sub(u, one));
    V exponent;
    V f = S::sub(S::split(u, &exponent), one);  // in [-0.25, 0.5)
    // near-minimax polynomial of log2(1 + f) / f, error 8e-9
    V p = S::set(-0.06292444802f);
    p = S::fma(p, f, S::set(0.1490227531f));
    p = S::fma(p, f, S::set(-0.1898806279f));
    p = S::fma(p, f, S::set(0.2092524978f));
    p = S::fma(p, f, S::set(-0.2402091816f));
    p = S::fma(p, f, S::set(0.2883809289f));
    p = S::fma(p, f, S::set(-0.3606725619f));
    p = S::fma(p, f, S::set(0.4809007686f));
    p = S::fma(p, f, S::set(-0.721347559f));
    p = S::fma(p, f, S::set(1.442695035f));
    V root = S::rsqrt_rough(u), inverse = S::mul(root, root);
    if (S::kVeryRoughRsqrt) inverse = S::fma(inverse, S::fnma(u, inverse, one), inverse);
    V correction = S::mul(S::mul(rounding, S::set(1.442695041f)), inverse);  // where t is tiny, this is the whole result
    return S::add(exponent, S::fma(p, f, correction));
}

// 2^a for a <= 0, in float; results below 2^-126 become 0, so none is subnormal
template <class S>
inline typename S::V exp2_flushed(typename S::V a) {
    using V = typename S::V;
    V clamped = S::max(a, S::set(-126.0f));
    V n = S::round(clamped);
    V f = S::sub(clamped, n);
    // near-minimax polynomial of 2^f on [-0.5, 0.5], error 2e-9
    V p = S::set(0.000154614446986f);
    p = S::fma(p, f, S::set(0.00134004281776f));
    p = S::fma(p, f, S::set(0.00961805667852f));
    p = S::fma(p, f, S::set(0.0555032722667f));
    p = S::fma(p, f, S::set(0.240226509223f));
    p = S::fma(p, f, S::set(0.693147206703f));
    p = S::fma(p, f, S::set(1.0f));
    return S::select(S::less(a, S::set(-126.0f)), S::set(0.0f), S::scale2(p, n));
}

// a^p for a whole p by squaring
template <class S>
inline typename S::V whole_power_of(typename S::V a, int p) {
    typename S::V result = p & 1 ? a : S::set(1);
    for (p >>= 1; p; p >>= 1) {
        a = S::mul(a, a);
        if (p & 1) result = S::mul(result, a);
    }
    return result;
}

// (1 + t)^(-p/2) for a whole p >= 0 and t > -1/2, by squaring a rough reciprocal. A series corrects the error of the
// reciprocal and the rounding of 1 + t, so that only the rounding of the squarings is multiplied by p.
template <class S>
inline typename S::V inverse_power_of(typename S::V t, int p) {
    using V = typename S::V;
    using T = typename S::T;
    const V one = S::set(T(1));
    const V u = S::add(one, t);
    const V root = S::rsqrt_rough(u), inverse = S::mul(root, root);
    V e = S::fnma(u, inverse, one);
    e = S::fnma(S::sub(t, S::sub(u, one)), inverse, e);
    V power = whole_power_of<S>(inverse, p / 2);
    if (p & 1) power = S::mul(power, root);
    // (1 - e)^(-a); e is below 2^-10, so the terms left out are below 2^-21 up to the largest p
    const T a = T(p) / 2;
    V series = S::set(a * (a + 1) * (a + 2) / 6);
    series = S::fma(series, e, S::set(a * (a + 1) / 2));
    series = S::fma(series, e, S::set(a));
    return S::fma(S::mul(power, series), e, power);
}

// Whether `power` is computed by squaring. Above the bound squaring loses more digits than the logarithm does.
template <class S>
inline bool is_whole_power(double power) {
    return power <= (sizeof(typename S::T) == 4 ? 129 : 64) && power == ::floor(power);
}

inline double natural_log(double a) { return ::log(a); }
inline long double natural_log(long double a) { return ::logl(a); }

// Logarithms and exponentials. The base is 2 for vectors of floats, where 2^n is cheap, and e for all other numbers.
template <class S>
struct Logarithm {
    using T = typename S::T;
    using V = typename S::V;
    static constexpr bool base_two = sizeof(T) == 4;
    static constexpr double of_e = base_two ? 1.4426950408889634 : 1.0;  // log of e in this base

    // log(1 + t); floats need t >= 0 or slightly below
    static inline V log_1p(V t) {
        if constexpr (base_two) return log2_1p<S>(t);
        else return each(t, [](T a) { return sizeof(T) == 8 ? T(::log1p(a)) : T(::log1pl(a)); });
    }

    // the base to the power a; floats need a <= 0
    static inline V exp(V a) {
        if constexpr (base_two) return exp2_flushed<S>(a);
        else return each(a, [](T b) { return sizeof(T) == 8 ? T(::exp(b)) : T(::expl(b)); });
    }

private:
    template <class F>
    static inline V each(V a, F&& f) {
        T lanes[S::W];
        S::store(lanes, a);
        for (int i = 0; i < S::W; ++i) lanes[i] = f(lanes[i]);
        return S::load(lanes);
    }
};

}  // namespace
