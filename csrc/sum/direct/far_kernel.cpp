#include "sum/direct/far_kernel.h"

#include <float.h>

#include "core/logsum.h"
#include "simd/vectors.h"
#include "sum/direct/left_out.h"

namespace {

using efm::FarPoints;
using efm::Request;

// One group of far points: views into FarPoints.
struct FarGroup {
    int64_t d;
    const float* x;
    const double* base;
    float* pivot;
    double* acc;
};

// Rescales the sums of the lanes where `nearest` is below the pivot.
template <class Function>
void rescale(const Function& function, const FarGroup& g, F32::V nearest) {
    if (!F32::any(F32::less(nearest, F32::load(g.pivot)))) return;
    float smaller[F32::W];
    F32::store(smaller, nearest);
    for (int i = 0; i < F32::W; ++i) {
        if (!(smaller[i] < g.pivot[i] && smaller[i] < FLT_MAX)) continue;
        LogSum<float>{g.pivot[i], g.acc + i, g.d + 1, F32::W, g.base[i]}.rescale(function, smaller[i]);
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

// r2 - base become weights.
template <class Function>
void weigh(const Function& function, const FarGroup& g, int n, float* tile) {
    float inverse[F32::W], sum[F32::W];
    for (int i = 0; i < F32::W; ++i) {
        sum[i] = static_cast<float>(g.base[i] + g.pivot[i]);
        inverse[i] = static_cast<float>(1.0 / (g.base[i] + g.pivot[i]));
    }
    const F32::V pivot = F32::load(g.pivot), inv = F32::load(inverse), whole = F32::load(sum), one = F32::set(1.0f);
    function.template with_weight<F32>([&](auto weight) {
        for (int j = 0; j < n; ++j) {
            const F32::V excess = F32::sub(F32::load(tile + j * F32::W), pivot);
            F32::store(tile + j * F32::W, weight({F32::fma(excess, inv, one), excess, F32::mul(excess, inv), whole}));
        }
    });
}

// Multiplies weights by those of the charges and adds them up; few at a time in float.
void add_weights(const FarGroup& g, const float* q, int n, float* tile) {
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

// r2 - base of one group become weights, about a pivot that is low enough for them, and are added up.
template <class Function>
void add_group(const Function& function, const FarGroup& g, const int64_t* self, const DirectCharges& c, float* tile) {
    const bool gaps = leave_out<F32>(self, c, tile, FLT_MAX);
    F32::V nearest = F32::set(FLT_MAX);
    for (int j = 0; j < c.n; ++j) nearest = F32::min(F32::load(tile + j * F32::W), nearest);
    rescale(function, g, nearest);

    weigh(function, g, c.n, tile);
    if (gaps) leave_out<F32>(self, c, tile, 0.0f);
    add_weights(g, static_cast<const float*>(c.q), c.n, tile);
}

template <int G>
void add_groups(const Request& r, const FarPoints& p, int first, const DirectCharges& c, float* scratch) {
    constexpr int B = 8;
    FarGroup g[G];
    float* tile[G];
    for (int i = 0; i < G; ++i) {
        const int64_t lane = static_cast<int64_t>(first + i) * F32::W;
        g[i] = {p.d, p.x + (p.d + 1) * lane, p.base + lane, p.pivot + lane, p.acc + (p.d + 1) * lane};
        tile[i] = scratch + i * efm::direct_max_charges * F32::W;
    }
    const float* y = static_cast<const float*>(c.y);
    int j = 0;
    for (; j + B <= c.n; j += B) excesses_of<G, B>(g, y, tile, j);
    for (; j < c.n; ++j) excesses_of<G, 1>(g, y, tile, j);
    with_kernel(r.kernel, [&](const auto& function) {
        for (int i = 0; i < G; ++i)
            add_group(function, g[i], p.self ? p.self + static_cast<int64_t>(first + i) * F32::W : nullptr, c, tile[i]);
    });
    int64_t k = 0;
    for (; k + B <= p.d; k += B) moments_of<G, B>(g, y, tile, c.n, k);
    for (; k < p.d; ++k) moments_of<G, 1>(g, y, tile, c.n, k);
}

void add(const Request& r, const FarPoints& p, const DirectCharges& c, float* scratch) {
    if (c.n == 0) return;
    FlushSubnormals flush;
    int i = 0;
    for (; i + 2 <= p.groups; i += 2) add_groups<2>(r, p, i, c, scratch);
    if (i < p.groups) add_groups<1>(r, p, i, c, scratch);
}

}  // namespace

namespace efm {

EFM_KERNELS(FarKernels) {
    static const FarKernels kernels{F32::W, add};
    return kernels;
}

}  // namespace efm
