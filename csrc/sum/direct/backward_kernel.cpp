#include "sum/direct/backward_kernel.h"

#include <type_traits>

#include "core/kernel.h"
#include "simd/vectors.h"
#include "sum/direct/left_out.h"

namespace {

using efm::BackwardLanes;
using efm::PairPoints;
using efm::Request;

// A charge of weight zero does not set the pivot, so it may be nearer than the pivot when its own gradient is computed.
// Its r2 is taken as at least this fraction of the pivot, so that nothing overflows.
constexpr double least_ratio = 1e-7;

// One group of lanes and the numbers of the points, in the scalar type of the kernel.
template <class S>
struct Side {
    using T = typename S::T;
    int64_t d;
    const T* at;
    const int64_t* self;
    double* acc;
    const T *h2, *base, *pivot, *inv, *slope, *g_w, *g_v;
};

// A number of the points: a vector if the points stand in the lanes, otherwise the number of point j in all lanes.
template <class S, bool points_in_lanes>
inline typename S::V of_point(const typename S::T* values, int64_t j) {
    if constexpr (points_in_lanes) return S::load(values);
    else return S::set(values[j]);
}

// Adds pairs of Coulomb's kernel, power D + 1, with everything in registers.
template <class S, int D, bool points_in_lanes, bool weighted>
void add_coulomb(const Side<S>& g, const DirectCharges& c) {
    using T = typename S::T;
    using V = typename S::V;
    constexpr int W = S::W;
    const T* other = static_cast<const T*>(c.y);
    const T* q = static_cast<const T*>(c.q);
    V at[D], diff[D], moment[D], first = S::set(T(0)), second = S::set(T(0));
    for (int k = 0; k < D; ++k) {
        at[k] = S::load(g.at + k * W);
        moment[k] = S::set(T(0));
    }
    const V least = S::set(T(least_ratio));
    for (int64_t j = 0; j < c.n; ++j) {
        V r2 = of_point<S, points_in_lanes>(g.h2, j);
        for (int k = 0; k < D; ++k) {
            diff[k] = S::sub(at[k], S::set(other[j * D + k]));
            r2 = S::fma(diff[k], diff[k], r2);
        }
        V u = S::mul(r2, of_point<S, points_in_lanes>(g.inv, j));
        if constexpr (!points_in_lanes) u = S::max(least, u);
        V rho = inverse_power<S, D + 1>(u);
        V steep = inverse_power<S, D + 3>(u);  // rho / u
        V a = of_point<S, points_in_lanes>(g.g_w, j);
        for (int k = 0; k < D; ++k) {
            if constexpr (points_in_lanes) a = S::fma(S::load(g.g_v + k * W), diff[k], a);
            else a = S::fma(S::set(g.g_v[j * D + k]), diff[k], a);
        }
        V b = S::mul(steep, a);
        if constexpr (points_in_lanes) {
            if constexpr (weighted) {
                rho = S::mul(rho, S::set(q[j]));
                b = S::mul(b, S::set(q[j]));
            }
            first = S::add(first, b);
            second = S::add(second, rho);
        } else {
            b = S::mul(b, S::set(g.slope[j]));
            first = S::fma(rho, a, first);
            for (int k = 0; k < D; ++k) moment[k] = S::fma(rho, S::set(g.g_v[j * D + k]), moment[k]);
        }
        for (int k = 0; k < D; ++k) moment[k] = S::fma(b, diff[k], moment[k]);
    }
    if constexpr (points_in_lanes) {
        const V slope = S::load(g.slope);
        first = S::mul(first, slope);
        for (int k = 0; k < D; ++k) moment[k] = S::mul(moment[k], slope);
        S::fold(g.acc + (D + 1) * W, second);
    }
    S::fold(g.acc + D * W, first);
    for (int k = 0; k < D; ++k) S::fold(g.acc + k * W, moment[k]);
}

// Writes r2 and a of `B` partners, [n][W] each.
template <class S, bool points_in_lanes, int B>
inline void products_of(const Side<S>& g, const typename S::T* other, int64_t j, typename S::T* r2_out,
                        typename S::T* a_out) {
    using V = typename S::V;
    constexpr int W = S::W;
    V r2[B], a[B];
    for (int b = 0; b < B; ++b) {
        r2[b] = of_point<S, points_in_lanes>(g.h2, j + b);
        a[b] = of_point<S, points_in_lanes>(g.g_w, j + b);
    }
    for (int64_t k = 0; k < g.d; ++k) {
        const V at = S::load(g.at + k * W);
        for (int b = 0; b < B; ++b) {
            const V diff = S::sub(at, S::set(other[(j + b) * g.d + k]));
            r2[b] = S::fma(diff, diff, r2[b]);
            if constexpr (points_in_lanes) a[b] = S::fma(S::load(g.g_v + k * W), diff, a[b]);
            else a[b] = S::fma(S::set(g.g_v[(j + b) * g.d + k]), diff, a[b]);
        }
    }
    for (int b = 0; b < B; ++b) {
        S::store(r2_out + (j + b) * W, r2[b]);
        S::store(a_out + (j + b) * W, a[b]);
    }
}

// Turns r2 in `tile` into q rho, or into rho if the charges stand in the lanes, and writes b.
template <class S, bool points_in_lanes, class Function>
void weigh_pairs(const Function& function, const Side<S>& g, const DirectCharges& c, typename S::T* tile,
                 const typename S::T* a, typename S::T* b) {
    using T = typename S::T;
    using V = typename S::V;
    constexpr int W = S::W;
    const T* q = static_cast<const T*>(c.q);
    function.template with_weight<S>([&](auto weight) {
        for (int j = 0; j < c.n; ++j) {
            const V pivot = of_point<S, points_in_lanes>(g.pivot, j), base = of_point<S, points_in_lanes>(g.base, j);
            const V inv = of_point<S, points_in_lanes>(g.inv, j);
            V r2 = S::load(tile + j * W);
            if (Function::singular) r2 = S::max(S::mul(pivot, S::set(T(least_ratio))), r2);
            const V whole = S::add(r2, base), excess = S::sub(r2, pivot);
            V rho = weight({S::mul(whole, inv), excess, S::mul(excess, inv), S::add(pivot, base)});
            if (points_in_lanes && q) rho = S::mul(rho, S::set(q[j]));
            const V slope = S::mul(S::set(T(2)), function.template slope<S>(whole));
            S::store(tile + j * W, rho);
            S::store(b + j * W, S::mul(S::mul(rho, slope), S::load(a + j * W)));
        }
    });
}

// Adds the moments of the `B` features from k0 on.
template <class S, bool points_in_lanes, int B>
inline void moments_of(const Side<S>& g, const typename S::T* other, const typename S::T* rho,
                       const typename S::T* weight, int n, int64_t k0) {
    using V = typename S::V;
    constexpr int W = S::W;
    V at[B], moment[B];
    for (int b = 0; b < B; ++b) {
        at[b] = S::load(g.at + (k0 + b) * W);
        moment[b] = S::set(0);
    }
    for (int64_t j = 0; j < n; ++j) {
        const V w = S::load(weight + j * W);
        for (int b = 0; b < B; ++b) {
            moment[b] = S::fma(w, S::sub(at[b], S::set(other[j * g.d + k0 + b])), moment[b]);
            if constexpr (!points_in_lanes)
                moment[b] = S::fma(S::load(rho + j * W), S::set(g.g_v[j * g.d + k0 + b]), moment[b]);
        }
    }
    for (int b = 0; b < B; ++b) S::fold(g.acc + (k0 + b) * W, moment[b]);
}

// Adds pairs of any kernel function at any D: first distances, then weights, then moments.
template <class S, bool points_in_lanes, class Function>
void add_any(const Function& function, const Side<S>& g, const DirectCharges& c, typename S::T* scratch) {
    using T = typename S::T;
    using V = typename S::V;
    constexpr int W = S::W;
    constexpr int64_t tile_size = efm::backward_max_block * efm::direct_max_width;
    const T* other = static_cast<const T*>(c.y);
    T *rho = scratch, *a = scratch + tile_size, *b = scratch + 2 * tile_size;

    int64_t j = 0;
    for (; j + 4 <= c.n; j += 4) products_of<S, points_in_lanes, 4>(g, other, j, rho, a);
    for (; j < c.n; ++j) products_of<S, points_in_lanes, 1>(g, other, j, rho, a);
    weigh_pairs<S, points_in_lanes>(function, g, c, rho, a, b);
    leave_out<S>(g.self, c, rho, T(0));
    leave_out<S>(g.self, c, b, T(0));

    V first = S::set(0), second = S::set(0);
    for (j = 0; j < c.n; ++j) {
        if constexpr (points_in_lanes) {
            first = S::add(first, S::load(b + j * W));
            second = S::add(second, S::load(rho + j * W));
        } else {
            first = S::fma(S::load(rho + j * W), S::load(a + j * W), first);
        }
    }
    S::fold(g.acc + g.d * W, first);
    if constexpr (points_in_lanes) S::fold(g.acc + (g.d + 1) * W, second);

    int64_t k = 0;
    for (; k + 8 <= g.d; k += 8) moments_of<S, points_in_lanes, 8>(g, other, rho, b, c.n, k);
    for (; k + 2 <= g.d; k += 2) moments_of<S, points_in_lanes, 2>(g, other, rho, b, c.n, k);
    for (; k < g.d; ++k) moments_of<S, points_in_lanes, 1>(g, other, rho, b, c.n, k);
}

template <class S, int D, bool points_in_lanes>
void add_coulomb_of(const Side<S>& g, const DirectCharges& c) {
    if constexpr (points_in_lanes) {
        if (c.q) return add_coulomb<S, D, true, true>(g, c);
    }
    add_coulomb<S, D, points_in_lanes, false>(g, c);
}

template <class S, bool points_in_lanes, class Function>
void add_group(const Function& function, const Side<S>& g, const DirectCharges& c, typename S::T* scratch) {
    if constexpr (std::is_same_v<Function, Riesz>) {
        switch (is_coulomb(function, g.d) && !any_self_in<S>(g.self, c) ? g.d : 0) {
            case 1: return add_coulomb_of<S, 1, points_in_lanes>(g, c);
            case 2: return add_coulomb_of<S, 2, points_in_lanes>(g, c);
            case 3: return add_coulomb_of<S, 3, points_in_lanes>(g, c);
            case 4: return add_coulomb_of<S, 4, points_in_lanes>(g, c);
            case 5: return add_coulomb_of<S, 5, points_in_lanes>(g, c);
            case 6: return add_coulomb_of<S, 6, points_in_lanes>(g, c);
            case 7: return add_coulomb_of<S, 7, points_in_lanes>(g, c);
            case 8: return add_coulomb_of<S, 8, points_in_lanes>(g, c);
            default: break;
        }
    }
    add_any<S, points_in_lanes>(function, g, c, scratch);
}

template <class S>
void add(const Request& r, const BackwardLanes& lanes, const DirectCharges& c, const PairPoints& p,
         bool points_in_lanes, void* scratch) {
    using T = typename S::T;
    constexpr int W = S::W;
    if (c.n == 0) return;
    FlushSubnormals flush;
    for (int64_t i = 0; i < lanes.groups; ++i) {
        const int64_t o = points_in_lanes ? i * W : 0;
        auto values = [&](const void* v, int64_t each) { return static_cast<const T*>(v) + o * each; };
        const Side<S> g{lanes.d,
                        static_cast<const T*>(lanes.at) + i * lanes.d * W,
                        lanes.self ? lanes.self + i * W : nullptr,
                        lanes.acc + i * (lanes.d + 2) * W,
                        values(p.h2, 1),
                        values(p.base, 1),
                        values(p.pivot, 1),
                        values(p.inv, 1),
                        values(p.slope, 1),
                        values(p.g_w, 1),
                        values(p.g_v, lanes.d)};
        with_kernel(r.kernel, [&](const auto& function) {
            if (points_in_lanes) add_group<S, true>(function, g, c, static_cast<T*>(scratch));
            else add_group<S, false>(function, g, c, static_cast<T*>(scratch));
        });
    }
}

}  // namespace

namespace efm {

EFM_KERNELS(BackwardKernels) {
    static const BackwardKernels kernels{F32::W, F64::W, add<F32>, add<F64>};
    return kernels;
}

}  // namespace efm
