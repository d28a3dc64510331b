#include "sum/large/large_kernel.h"

#include <float.h>
#include <math.h>

#include <type_traits>

#include "simd/vectors.h"

namespace {

using efm::RowPivot;
using V = F32::V;
constexpr int W = F32::W;

int nearest(float* s, const float* y2, int n, int k, float* value, int* index) {
    FlushSubnormals flush;
    int found = 0, worst = 0;
    float bound = FLT_MAX;  // only entries below it are taken
    auto consider = [&](int j) {
        const float candidate = s[j];
        if (!(candidate < bound)) return;
        const int slot = found < k ? found++ : worst;
        value[slot] = candidate;
        index[slot] = j;
        if (found < k) return;
        worst = 0;
        for (int i = 1; i < k; ++i)
            if (value[i] > value[worst]) worst = i;
        bound = value[worst];
    };
    const V minus_two = F32::set(-2.0f);
    int j = 0;
    for (; j + W <= n; j += W) {
        const V delta = F32::fma(minus_two, F32::load(s + j), F32::load(y2 + j));
        F32::store(s + j, delta);
        if (!F32::any(F32::less(delta, F32::set(bound)))) continue;
        for (int i = 0; i < W; ++i) consider(j + i);
    }
    for (; j < n; ++j) {
        s[j] = y2[j] - 2.0f * s[j];
        consider(j);
    }
    return found;
}

int closest(const float* s, const float* y2, int n) {
    const V minus_two = F32::set(-2.0f);
    float best = FLT_MAX;
    int found = -1, j = 0;
    auto consider = [&](int i) {
        const float candidate = y2[i] - 2.0f * s[i];
        if (!(candidate < best)) return;
        best = candidate;
        found = i;
    };
    for (; j + W <= n; j += W) {
        const V delta = F32::fma(minus_two, F32::load(s + j), F32::load(y2 + j));
        if (!F32::any(F32::less(delta, F32::set(best)))) continue;
        for (int i = 0; i < W; ++i) consider(j + i);
    }
    for (; j < n; ++j) consider(j);
    return found;
}

// Collects the indices i with counts(i). any(j) says whether there may be one among the W entries from j on.
template <class Any, class Counts>
inline int collect(int n, int most, int* index, Any any, Counts counts) {
    int found = 0, j = 0;
    auto consider = [&](int i) {
        if (found <= most && counts(i) && found++ < most) index[found - 1] = i;
    };
    for (; j + W <= n; j += W) {
        if (!any(j)) continue;
        for (int i = 0; i < W; ++i) consider(j + i);
        if (found > most) return found;
    }
    for (; j < n; ++j) consider(j);
    return found;
}

int within(const float* s, const float* y2, float keep, float limit, int n, int most, int* index) {
    const V minus_two = F32::set(-2.0f), kept = F32::set(keep), bound = F32::set(limit);
    const auto any = [&](int j) {
        return F32::any(F32::less(F32::fma(minus_two, F32::load(s + j), F32::mul(kept, F32::load(y2 + j))), bound));
    };
    return collect(n, most, index, any, [&](int i) { return keep * y2[i] - 2.0f * s[i] < limit; });
}

int filled(const float* s, int n, int most, int* index) {
    const V zero = F32::set(0.0f);
    const auto any = [&](int j) {
        const V value = F32::load(s + j);
        return F32::any(F32::less(F32::min(value, F32::sub(zero, value)), zero));
    };
    return collect(n, most, index, any, [&](int i) { return s[i] != 0.0f; });
}

// The weights of W entries; weights below the cutoff are 0.
template <class Function>
struct Weights {
    Function function;
    V pivot, inv, cutoff;

    V of(V excess) const {
        // products are rounded, so the excess of the nearest may be slightly below 0
        const V by_pivot = F32::min(F32::max(F32::mul(excess, inv), F32::set(-0.5f)), F32::set(1e30f));
        const V ratio = F32::add(F32::set(1.0f), by_pivot);
        const V log = function.template log_weight<F32>({ratio, excess, by_pivot, pivot});
        return F32::select(F32::less(log, cutoff), F32::set(0.0f), Logarithm<F32>::exp(log));
    }
};

template <class Function>
double weigh_row(const Weights<Function>& weights, float* s, const float* q, int n, const RowPivot& p) {
    const float shift = p.shift;
    // beyond this excess every weight is below the cutoff, and its logarithm is not needed
    const V far = F32::set(p.reach < FLT_MAX ? static_cast<float>(p.reach) * 1.0001f : FLT_MAX);
    double total[W] = {};
    V part = F32::set(0.0f);
    int j = 0;
    for (; j + W <= n; j += W) {
        const V excess = F32::sub(F32::load(s + j), F32::set(shift));
        if (F32::any(F32::less(excess, far)) || ::isnan(shift)) {
            V weight = weights.of(excess);
            if (q) weight = F32::mul(weight, F32::load(q + j));
            F32::store(s + j, weight);
            part = F32::add(part, weight);
        } else {
            F32::store(s + j, F32::set(0.0f));
        }
        if (j % (16 * W) == 15 * W) {  // few at a time in float, because two plates may nearly cancel
            F32::fold(total, part);
            part = F32::set(0.0f);
        }
    }
    if (j < n) {  // the last entries, in a padded copy
        float excess[W], charge[W];
        for (int i = 0; i < W; ++i) {
            excess[i] = j + i < n ? s[j + i] - shift : FLT_MAX;
            charge[i] = q && j + i < n ? q[j + i] : 1.0f;
        }
        const V weight = F32::mul(weights.of(F32::load(excess)), F32::load(charge));
        F32::store(excess, weight);
        for (int i = 0; j + i < n; ++i) {
            s[j + i] = excess[i];
            total[i] += excess[i];
        }
    }
    F32::fold(total, part);
    double sum = 0.0;
    for (int i = 0; i < W; ++i) sum += total[i];
    return sum;
}

double weigh(const efm::Kernel& kernel, float* s, const float* q, int n, const RowPivot& p) {
    FlushSubnormals flush;
    return with_kernel(kernel, [&](const auto& function) {
        const V pivot = F32::set(static_cast<float>(p.pivot)), inv = F32::set(static_cast<float>(1.0 / p.pivot));
        return weigh_row(Weights<std::decay_t<decltype(function)>>{function, pivot, inv, F32::set(p.cutoff)}, s, q, n, p);
    });
}

void displace(float* v, float scale, const float* from, const float* const* y, const float* w, int count,
              int64_t d) {
    FlushSubnormals flush;
    int64_t k = 0;
    for (; k + W <= d; k += W) {
        V sum = F32::mul(F32::load(v + k), F32::set(scale));
        const V here = F32::load(from + k);
        for (int i = 0; i < count; ++i) sum = F32::fma(F32::set(w[i]), F32::sub(here, F32::load(y[i] + k)), sum);
        F32::store(v + k, sum);
    }
    for (; k < d; ++k) {
        float sum = v[k] * scale;
        for (int i = 0; i < count; ++i) sum += w[i] * (from[k] - y[i][k]);
        v[k] = sum;
    }
}

}  // namespace

namespace efm {

EFM_KERNELS(LargeKernels) {
    static const LargeKernels kernels{nearest, closest, within, filled, weigh, displace};
    return kernels;
}

}  // namespace efm
