// Several vectors with the functions of one. A formula that branches on a plain number, such as a power by squaring, then
// branches once for all of them.
#pragma once

namespace {

template <class S, int N>
struct Several {
    using T = typename S::T;
    struct V { typename S::V a[N]; };
    static constexpr int W = N * S::W;
    static constexpr bool kRoughRsqrt = S::kRoughRsqrt;
    static constexpr bool kVeryRoughRsqrt = S::kVeryRoughRsqrt;

#define EFM_EACH(expression)                         \
    V r;                                             \
    for (int i = 0; i < N; ++i) r.a[i] = expression; \
    return r;
    static inline V load(const T* p) { EFM_EACH(S::load(p + i * S::W)) }
    static inline V set(T a) { EFM_EACH(S::set(a)) }
    static inline V all(typename S::V a) { EFM_EACH(a) }
    static inline V add(V a, V b) { EFM_EACH(S::add(a.a[i], b.a[i])) }
    static inline V sub(V a, V b) { EFM_EACH(S::sub(a.a[i], b.a[i])) }
    static inline V mul(V a, V b) { EFM_EACH(S::mul(a.a[i], b.a[i])) }
    static inline V div(V a, V b) { EFM_EACH(S::div(a.a[i], b.a[i])) }
    static inline V fma(V a, V b, V c) { EFM_EACH(S::fma(a.a[i], b.a[i], c.a[i])) }
    static inline V fnma(V a, V b, V c) { EFM_EACH(S::fnma(a.a[i], b.a[i], c.a[i])) }
    static inline V rsqrt_rough(V a) { EFM_EACH(S::rsqrt_rough(a.a[i])) }
    static inline V max(V a, V b) { EFM_EACH(S::max(a.a[i], b.a[i])) }
    static inline V round(V a) { EFM_EACH(S::round(a.a[i])) }
    static inline V scale2(V a, V n) { EFM_EACH(S::scale2(a.a[i], n.a[i])) }
    static inline V split(V a, V* e) { EFM_EACH(S::split(a.a[i], &e->a[i])) }
    // true where a < b
    struct Mask { typename S::Mask a[N]; };
    static inline Mask less(V a, V b) {
        Mask r;
        for (int i = 0; i < N; ++i) r.a[i] = S::less(a.a[i], b.a[i]);
        return r;
    }
    static inline V select(Mask m, V yes, V no) { EFM_EACH(S::select(m.a[i], yes.a[i], no.a[i])) }
#undef EFM_EACH
    static inline void store(T* p, V a) {
        for (int i = 0; i < N; ++i) S::store(p + i * S::W, a.a[i]);
    }
};

}  // namespace
