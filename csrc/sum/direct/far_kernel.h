// The kernel of far.h, written once: a unit includes its vec_*.h, then this.
#pragma once

#include <math.h>

#include "sum/direct/far.h"
#include "sum/direct/left_out.h"
#include "simd/power.h"

namespace {

using efm::FarPoints;
using efm::Request;

// One group of far points: views into FarPoints.
struct FarGroup {
    int64_t d;
    const float* x;
    const double* base;
    float* ref;
    double* acc;
};

// log of the weight at r2 = base + from relative to that at r2 = base + to
inline double far_log_ratio(const Request& r, double base, double from, double to) {
    if (r.kernel == efm::Kernel::gaussian) return (to - from) / (2.0 * r.bandwidth * r.bandwidth);
    return -0.5 * r.power * ::log1p((from - to) / (base + to));
}

// Lower the pivot of the lanes where `nearest` is below it, and rescale their sums.
void lower_far_pivot(const Request& r, const FarGroup& g, F32::V nearest) {
    if (!F32::any(F32::less(nearest, F32::load(g.ref)))) return;
    float to[F32::W];
    F32::store(to, nearest);
    for (int i = 0; i < F32::W; ++i) {
        if (!(to[i] < g.ref[i] && to[i] < FLT_MAX)) continue;
        const double factor = g.ref[i] <= FLT_MAX ? ::exp(far_log_ratio(r, g.base[i], g.ref[i], to[i])) : 0.0;
        for (int64_t k = 0; k <= g.d; ++k) g.acc[k * F32::W + i] *= factor;
        g.ref[i] = to[i];
    }
}

// r2 - base of `G` groups and `B` charges at a time: what is loaded serves them all. A charge's numbers are y - centre,
// then |y - centre|^2.
template <int G, int B>
inline void excesses_of(const FarGroup* g, const float* y, float* const* tile, int j) {
    const int64_t d = g->d;
    F32::V total[G][B];
    for (int i = 0; i < G; ++i)
        for (int b = 0; b < B; ++b) total[i][b] = F32::set(0.0f);
    for (int64_t k = 0; k <= d; ++k) {
        F32::V x[G];
        for (int i = 0; i < G; ++i) x[i] = F32::load(g[i].x + k * F32::W);
        for (int b = 0; b < B; ++b) {
            const F32::V charge = F32::set(y[(j + b) * (d + 1) + k]);
            for (int i = 0; i < G; ++i) total[i][b] = F32::fma(x[i], charge, total[i][b]);
        }
    }
    for (int i = 0; i < G; ++i)
        for (int b = 0; b < B; ++b) F32::store(tile[i] + (j + b) * F32::W, total[i][b]);
}

// acc[k0 ..] += sum_j weight_j (y_j - centre) for `G` groups and `B` features at a time
template <int G, int B>
inline void moments_of(const FarGroup* g, const float* y, const float* const* tile, int n, int64_t k0) {
    const int64_t d = g->d;
    F32::V acc[G][B];
    for (int i = 0; i < G; ++i)
        for (int b = 0; b < B; ++b) acc[i][b] = F32::set(0.0f);
    for (int j = 0; j < n; ++j) {
        F32::V w[G];
        for (int i = 0; i < G; ++i) w[i] = F32::load(tile[i] + j * F32::W);
        for (int b = 0; b < B; ++b) {
            const F32::V charge = F32::set(y[j * (d + 1) + k0 + b]);
            for (int i = 0; i < G; ++i) acc[i][b] = F32::fma(w[i], charge, acc[i][b]);
        }
    }
    for (int i = 0; i < G; ++i)
        for (int b = 0; b < B; ++b) F32::fold(g[i].acc + (1 + k0 + b) * F32::W, acc[i][b]);
}

// Excesses become weights.
void weigh_far(const Request& r, const FarGroup& g, int n, float* tile) {
    const F32::V ref = F32::load(g.ref);
    float inverse[F32::W];
    for (int i = 0; i < F32::W; ++i) inverse[i] = static_cast<float>(1.0 / (g.base[i] + g.ref[i]));
    const F32::V inv = F32::load(inverse), one = F32::set(1.0f);
    const auto replace = [&](auto weight_of) {
        for (int j = 0; j < n; ++j) F32::store(tile + j * F32::W, weight_of(F32::load(tile + j * F32::W)));
    };
    if (r.kernel == efm::Kernel::gaussian) {
        const double rate = 0.5 / (r.bandwidth * r.bandwidth);
        replace([&](F32::V excess) { return gaussian_weight(F32(), excess, ref, rate); });
    } else if (is_whole_power<F32>(r.power)) {
        const int p = static_cast<int>(r.power);
        replace([&](F32::V excess) {
            return whole_power_of<F32>(reciprocal_root<F32>(F32::fma(F32::sub(excess, ref), inv, one)), p);
        });
    } else {
        replace([&](F32::V excess) { return riesz_weight(F32(), excess, ref, inv, 0.5 * r.power); });
    }
}

// Multiplies weights by those of the charges and adds them up; few at a time in float.
void total_far(const FarGroup& g, const float* q, int n, float* tile) {
    constexpr int run = 32;
    for (int j0 = 0; j0 < n; j0 += run) {
        F32::V total = F32::set(0.0f);
        for (int j = j0; j < n && j < j0 + run; ++j) {
            F32::V w = F32::load(tile + j * F32::W);
            if (q) {
                w = F32::mul(w, F32::set(q[j]));
                F32::store(tile + j * F32::W, w);
            }
            total = F32::add(total, w);
        }
        F32::fold(g.acc, total);
    }
}

// One group's excesses become weights, added up, from a pivot that is low enough for them.
void weigh_group(const Request& r, const FarGroup& g, const int64_t* self, const DirectCharges& c, float* tile) {
    const bool gaps = leave_out<F32>(self, c, tile, FLT_MAX);
    F32::V nearest = F32::set(FLT_MAX);
    for (int j = 0; j < c.n; ++j) nearest = F32::min(F32::load(tile + j * F32::W), nearest);
    lower_far_pivot(r, g, nearest);

    weigh_far(r, g, c.n, tile);
    if (gaps) leave_out<F32>(self, c, tile, 0.0f);
    total_far(g, static_cast<const float*>(c.q), c.n, tile);
}

template <int G>
void add_far_groups(const Request& r, const FarPoints& p, int first, const DirectCharges& c, float* scratch) {
    constexpr int B = 8;
    FarGroup g[G];
    float* tile[G];
    for (int i = 0; i < G; ++i) {
        const int64_t lane = static_cast<int64_t>(first + i) * F32::W;
        g[i] = {p.d, p.x + (p.d + 1) * lane, p.base + lane, p.ref + lane, p.acc + (p.d + 1) * lane};
        tile[i] = scratch + i * efm::direct_max_charges * F32::W;
    }
    const float* y = static_cast<const float*>(c.y);
    int j = 0;
    for (; j + B <= c.n; j += B) excesses_of<G, B>(g, y, tile, j);
    for (; j < c.n; ++j) excesses_of<G, 1>(g, y, tile, j);
    for (int i = 0; i < G; ++i)
        weigh_group(r, g[i], p.self ? p.self + static_cast<int64_t>(first + i) * F32::W : nullptr, c, tile[i]);
    int64_t k = 0;
    for (; k + B <= p.d; k += B) moments_of<G, B>(g, y, tile, c.n, k);
    for (; k < p.d; ++k) moments_of<G, 1>(g, y, tile, c.n, k);
}

void add_far(const Request& r, const FarPoints& p, const DirectCharges& c, float* scratch) {
    if (c.n == 0) return;
    FlushSubnormals flush;
    int i = 0;
    for (; i + 2 <= p.groups; i += 2) add_far_groups<2>(r, p, i, c, scratch);
    if (i < p.groups) add_far_groups<1>(r, p, i, c, scratch);
}

}  // namespace
