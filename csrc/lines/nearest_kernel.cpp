#include "lines/nearest_kernel.h"

#include <math.h>

#include "simd/vectors.h"

namespace {

template <class S>
efm::TwoNearest<typename S::T> find(const efm::ChargeLanes<typename S::T>& charges, const typename S::T* x,
                                    typename S::T h2) {
    using T = typename S::T;
    using V = typename S::V;
    constexpr int W = S::W;
    const T infinite = static_cast<T>(HUGE_VAL);
    V first = S::set(infinite), second = S::set(infinite);
    V block = S::set(T(0));  // block of the first; a float holds up to 2^24 blocks exactly
    const T* y = charges.y;
    for (int64_t b = 0; b < charges.blocks; ++b) {
        V r2 = S::set(h2);
        for (int k = 0; k < charges.d; ++k, y += W) {
            const V diff = S::sub(S::set(x[k]), S::load(y));
            r2 = S::fma(diff, diff, r2);
        }
        const auto nearer = S::less(r2, first);
        second = S::min(second, S::max(r2, first));
        block = S::select(nearer, S::set(static_cast<T>(b)), block);
        first = S::min(r2, first);
    }
    T firsts[W], seconds[W], blocks[W];
    S::store(firsts, first);
    S::store(seconds, second);
    S::store(blocks, block);
    efm::TwoNearest<T> found{infinite, infinite, 0};
    for (int i = 0; i < W; ++i) {
        if (firsts[i] < found.first) {
            found.second = found.first;
            found.first = firsts[i];
            found.index = static_cast<int64_t>(blocks[i]) * W + i;
        } else if (firsts[i] < found.second) {
            found.second = firsts[i];
        }
        if (seconds[i] < found.second) found.second = seconds[i];
    }
    return found;
}

}  // namespace

namespace efm {

EFM_KERNELS(NearestKernels) {
    static const NearestKernels kernels{F32::W, F64::W, find<F32>, find<F64>};
    return kernels;
}

}  // namespace efm
