// The row kernels of rows.h, written once: a unit includes its vec_*.h, then this, and defines EFM_ROW_KERNELS.
#pragma once

#include <float.h>
#include <math.h>

#include "simd/power.h"
#include "sum/large/large_row.h"

namespace {

using efm::Request;
using V = F32::V;
constexpr int W = F32::W;

int nearest(float* s, const float* y2, int n, int k, float* value, int* index) {
    FlushSubnormals flush;
    int found = 0, worst = 0;
    float bound = FLT_MAX;  // what an entry must be below to be taken
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

// Collects the entries that `counts` takes; `any` says of W of them whether there may be one.
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

// Weights of W entries, or zeros if none of them counts.
inline V weights_of(const Request& r, V excess, V inv, V rate, V low, V cutoff) {
    V logit;
    if (r.kernel == efm::Kernel::gaussian) {
        logit = F32::mul(excess, rate);
    } else {
        const V t = F32::min(F32::max(F32::mul(excess, inv), low), F32::set(1e30f));
        logit = F32::mul(log2_1p<F32>(t), rate);
    }
    const V weight = exp2_flushed<F32>(logit);
    return F32::select(F32::less(logit, cutoff), F32::set(0.0f), weight);
}

double weigh(const Request& r, float* s, const float* q, int n, float shift, double ref, float cutoff,
             double reach) {
    FlushSubnormals flush;
    const bool gaussian = r.kernel == efm::Kernel::gaussian;
    const V inv = F32::set(static_cast<float>(1.0 / ref));
    const V rate = F32::set(static_cast<float>(
        gaussian ? -1.4426950408889634 * 0.5 / (r.bandwidth * r.bandwidth) : -0.5 * r.power));
    const V low = F32::set(-0.5f), floor = F32::set(cutoff);
    // beyond this excess every weight is under the cutoff, and the logarithm need not be taken
    const V far = F32::set(reach < FLT_MAX ? static_cast<float>(reach) * 1.0001f : FLT_MAX);
    double total[W] = {};
    V part = F32::set(0.0f);
    int j = 0;
    for (; j + W <= n; j += W) {
        const V excess = F32::sub(F32::load(s + j), F32::set(shift));
        if (F32::any(F32::less(excess, far)) || ::isnan(shift)) {
            V weight = weights_of(r, excess, inv, rate, low, floor);
            if (q) weight = F32::mul(weight, F32::load(q + j));
            F32::store(s + j, weight);
            part = F32::add(part, weight);
        } else {
            F32::store(s + j, F32::set(0.0f));
        }
        if (j % (16 * W) == 15 * W) {  // few in float: two plates of which little is left share these sums
            F32::fold(total, part);
            part = F32::set(0.0f);
        }
    }
    if (j < n) {  // the tail in a padded copy
        float excess[W], charge[W];
        for (int i = 0; i < W; ++i) {
            excess[i] = j + i < n ? s[j + i] - shift : FLT_MAX;
            charge[i] = q && j + i < n ? q[j + i] : 1.0f;
        }
        const V weight = F32::mul(weights_of(r, F32::load(excess), inv, rate, low, floor), F32::load(charge));
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

double distance(const float* x, const float* y, int64_t d) {
    // float products of float differences are exact to a rounding each; their sums go to double after every 8
    double total[W] = {};
    int64_t k = 0;
    while (k + W <= d) {
        V part = F32::set(0.0f);
        for (int run = 0; run < 8 && k + W <= d; ++run, k += W) {
            const V diff = F32::sub(F32::load(x + k), F32::load(y + k));
            part = F32::fma(diff, diff, part);
        }
        F32::fold(total, part);
    }
    double sum = 0.0;
    for (; k < d; ++k) {
        const double diff = static_cast<double>(x[k] - y[k]);
        sum += diff * diff;
    }
    for (int i = 0; i < W; ++i) sum += total[i];
    return sum;
}

double exact_distance(const float* x, const float* y, int64_t d) {
    double total[W] = {};
    int64_t k = 0;
    for (; k + W <= d; k += W)
        for (int i = 0; i < W; ++i) {
            const double diff = static_cast<double>(x[k + i]) - static_cast<double>(y[k + i]);
            total[i] += diff * diff;
        }
    double sum = 0.0;
    for (; k < d; ++k) {
        const double diff = static_cast<double>(x[k]) - static_cast<double>(y[k]);
        sum += diff * diff;
    }
    for (int i = 0; i < W; ++i) sum += total[i];
    return sum;
}

double shift(float* y, const float* centre, int64_t d) {
    const double square = exact_distance(y, centre, d);
    for (int64_t k = 0; k < d; ++k) y[k] -= centre[k];
    return square;
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

const RowKernels& EFM_ROW_KERNELS() {
    static const RowKernels kernels{nearest, closest, within, filled, weigh, distance, exact_distance, shift, displace};
    return kernels;
}

}  // namespace efm
