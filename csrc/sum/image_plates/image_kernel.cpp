#include "sum/image_plates/image_kernel.h"

#include "simd/scalar.h"
#include "simd/vectors.h"
#include "simd/functions.h"

namespace {

using efm::ImageCharges;
using efm::ImagePoints;

template <class S>
inline typename S::V squared_distance(const ImagePoints& p, const typename S::T* y) {
    const auto* x = static_cast<const typename S::T*>(p.x);
    typename S::V r2 = S::set(0);
    for (int64_t k = 0; k < p.d; ++k) {
        const typename S::V diff = S::sub(S::load(x + k * S::W), S::set(y[k]));
        r2 = S::fma(diff, diff, r2);
    }
    return r2;
}

template <class S>
void nearest(const ImagePoints& p, const ImageCharges& c) {
    using T = typename S::T;
    const T* y = static_cast<const T*>(c.y);
    typename S::V best = S::load(static_cast<T*>(p.nearest));
    for (int64_t j = 0; j < c.n; ++j) best = S::min(squared_distance<S>(p, y + j * p.d), best);
    S::store(static_cast<T*>(p.nearest), best);
}

// Adds the `B` charges from y on; weight(t) is (1 + t)^(-power / 2) for t >= 0.
template <class S, int B, class Weight>
inline void add_some(const ImagePoints& p, const typename S::T* y, const typename S::T* q, const Weight& weight) {
    using T = typename S::T;
    using V = typename S::V;
    constexpr int W = S::W;
    const V near = S::load(static_cast<const T*>(p.nearest));
    V excess[B], by_weight[B], by_height[B];
    for (int b = 0; b < B; ++b) {
        excess[b] = S::sub(squared_distance<S>(p, y + b * p.d), near);
        by_weight[b] = by_height[b] = S::set(0);
    }
    const T* inverse = static_cast<const T*>(p.inverse);
    const T* first = static_cast<const T*>(p.first);
    const T* heights = static_cast<const T*>(p.by_height);
    for (int k = 0; k < p.plates; ++k) {
        const V scale = S::load(inverse + k * W), one = S::load(first + k * W), high = S::load(heights + k * W);
        for (int b = 0; b < B; ++b) {
            const V w = weight(S::mul(excess[b], scale));
            by_weight[b] = S::fma(w, one, by_weight[b]);
            by_height[b] = S::fma(w, high, by_height[b]);
        }
    }
    const T* x = static_cast<const T*>(p.x);
    for (int b = 0; b < B; ++b) {
        if (q) {
            by_weight[b] = S::mul(by_weight[b], S::set(q[b]));
            by_height[b] = S::mul(by_height[b], S::set(q[b]));
        }
        S::fold(p.sums, by_weight[b]);
        S::fold(p.sums + W, by_height[b]);
        for (int64_t k = 0; k < p.d; ++k) {
            const V diff = S::sub(S::load(x + k * W), S::set(y[b * p.d + k]));
            S::fold(p.sums + (2 + k) * W, S::mul(by_weight[b], diff));
        }
    }
}

template <class S, class Weight>
void add_all(const ImagePoints& p, const ImageCharges& c, const Weight& weight) {
    using T = typename S::T;
    const T* y = static_cast<const T*>(c.y);
    const T* q = static_cast<const T*>(c.q);
    int64_t j = 0;
    for (; j + 4 <= c.n; j += 4) add_some<S, 4>(p, y + j * p.d, q ? q + j : nullptr, weight);
    for (; j < c.n; ++j) add_some<S, 1>(p, y + j * p.d, q ? q + j : nullptr, weight);
}

template <class S, int power>
void add_power(const ImagePoints& p, const ImageCharges& c) {
    add_all<S>(p, c, [](typename S::V t) { return inverse_power<S, power>(S::add(t, S::set(1))); });
}

template <class S>
void add(const ImagePoints& p, const ImageCharges& c) {
    using V = typename S::V;
    FlushSubnormals flush;
    if (p.power == 2.0) return add_power<S, 2>(p, c);
    if (p.power == 3.0) return add_power<S, 3>(p, c);
    if (p.power == 4.0) return add_power<S, 4>(p, c);
    if (is_whole_power<S>(p.power)) {
        const int power = static_cast<int>(p.power);
        return add_all<S>(p, c, [power](V t) {
            return whole_power_of<S>(reciprocal_root<S>(S::add(t, S::set(1))), power);
        });
    }
    const V half = S::set(typename S::T(-0.5 * p.power));
    add_all<S>(p, c, [half](V t) { return Logarithm<S>::exp(S::mul(Logarithm<S>::log_1p(t), half)); });
}

}  // namespace

namespace efm {

EFM_KERNELS(ImageKernels) {
    static const ImageKernels kernels{F32::W, F64::W, nearest<F32>, nearest<F64>, add<F32>, add<F64>};
    return kernels;
}

}  // namespace efm
