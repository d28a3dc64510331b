// The kernel of far.h, written once: a unit includes its vec_*.h, then this.
#pragma once

#include <math.h>

#include "far.h"
#include "left_out.h"
#include "power.h"

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

// r2 - base of `B` charges at a time; a charge's numbers are y - centre, then |y - centre|^2
template <int B>
inline void excesses_of(const FarGroup& g, const float* y, float* excess) {
    F32::V total[B];
    for (int b = 0; b < B; ++b) total[b] = F32::set(0.0f);
    for (int64_t k = 0; k <= g.d; ++k) {
        const F32::V x = F32::load(g.x + k * F32::W);
        for (int b = 0; b < B; ++b) total[b] = F32::fma(x, F32::set(y[b * (g.d + 1) + k]), total[b]);
    }
    for (int b = 0; b < B; ++b) F32::store(excess + b * F32::W, total[b]);
}

// acc[k0 ..] += sum_j weight_j (y_j - centre) for `B` features at a time
template <int B>
inline void moments_of(const FarGroup& g, const float* y, const float* weight, int n, int64_t k0) {
    F32::V acc[B];
    for (int b = 0; b < B; ++b) acc[b] = F32::set(0.0f);
    for (int j = 0; j < n; ++j) {
        const F32::V w = F32::load(weight + j * F32::W);
        for (int b = 0; b < B; ++b) acc[b] = F32::fma(w, F32::set(y[j * (g.d + 1) + k0 + b]), acc[b]);
    }
    for (int b = 0; b < B; ++b) F32::fold(g.acc + (1 + k0 + b) * F32::W, acc[b]);
}

// Excesses become weights.
void weigh_far(const Request& r, const FarGroup& g, int n, float* tile) {
    const F32::V ref = F32::load(g.ref);
    float inverse[F32::W];
    for (int i = 0; i < F32::W; ++i) inverse[i] = static_cast<float>(1.0 / (g.base[i] + g.ref[i]));
    const F32::V inv = F32::load(inverse);
    for (int j = 0; j < n; ++j) {
        const F32::V excess = F32::load(tile + j * F32::W);
        F32::V weight;
        if (r.kernel == efm::Kernel::gaussian)
            weight = gaussian_weight(F32(), excess, ref, 0.5 / (r.bandwidth * r.bandwidth));
        else weight = riesz_weight(F32(), excess, ref, inv, 0.5 * r.power);
        F32::store(tile + j * F32::W, weight);
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

void add_far_group(const Request& r, const FarGroup& g, const int64_t* self, const DirectCharges& c, float* tile) {
    const float* y = static_cast<const float*>(c.y);
    int j = 0;
    for (; j + 8 <= c.n; j += 8) excesses_of<8>(g, y + j * (g.d + 1), tile + j * F32::W);
    for (; j < c.n; ++j) excesses_of<1>(g, y + j * (g.d + 1), tile + j * F32::W);

    const bool gaps = leave_out<F32>(self, c, tile, FLT_MAX);
    F32::V nearest = F32::set(FLT_MAX);
    for (j = 0; j < c.n; ++j) nearest = F32::min(F32::load(tile + j * F32::W), nearest);
    lower_far_pivot(r, g, nearest);

    weigh_far(r, g, c.n, tile);
    if (gaps) leave_out<F32>(self, c, tile, 0.0f);
    total_far(g, static_cast<const float*>(c.q), c.n, tile);

    int64_t k = 0;
    for (; k + 8 <= g.d; k += 8) moments_of<8>(g, y, tile, c.n, k);
    for (; k < g.d; ++k) moments_of<1>(g, y, tile, c.n, k);
}

void add_far(const Request& r, const FarPoints& p, const DirectCharges& c, float* scratch) {
    if (c.n == 0) return;
    FlushSubnormals flush;
    for (int i = 0; i < p.groups; ++i) {
        const int64_t lane = static_cast<int64_t>(i) * F32::W;
        const FarGroup g{p.d, p.x + (p.d + 1) * lane, p.base + lane, p.ref + lane, p.acc + (p.d + 1) * lane};
        add_far_group(r, g, p.self ? p.self + lane : nullptr, c, scratch);
    }
}

}  // namespace
