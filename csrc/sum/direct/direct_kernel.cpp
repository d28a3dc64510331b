#include "sum/direct/direct_kernel.h"

#include <float.h>
#include <math.h>

#include <type_traits>

#include "core/logsum.h"
#include "simd/vectors.h"
#include "sum/direct/left_out.h"

namespace {

using efm::DirectPoints;
using efm::Request;

template <class S>
constexpr typename S::T tiny() {
    return sizeof(typename S::T) == 4 ? typename S::T(efm::direct_tiny32) : typename S::T(efm::direct_tiny64);
}

template <class S>
constexpr typename S::T largest() {
    return sizeof(typename S::T) == 4 ? typename S::T(FLT_MAX) : typename S::T(DBL_MAX);
}

// One group of points, as views into DirectPoints.
template <class S>
struct Group {
    int64_t d;
    const typename S::T* x;
    const typename S::T* h2;
    typename S::T* pivot;
    typename S::T* best;
    double* acc;
    const typename S::T* base;

    typename S::V base_of() const { return base ? S::load(base) : S::set(0); }
};

// Rescales the sums of the lanes where `nearest` is below the pivot times `slack`. Returns whether there are any.
template <class S, class Function>
bool rescale(const Function& function, const Group<S>& g, typename S::V nearest, typename S::T slack) {
    using T = typename S::T;
    constexpr int W = S::W;
    if (!S::any(S::less(nearest, S::mul(S::load(g.pivot), S::set(slack))))) return false;
    T fresh[W];
    S::store(fresh, nearest);
    const T floor = Function::singular ? tiny<S>() : T(0);
    bool rescaled = false;
    for (int i = 0; i < W; ++i) {
        const T smaller = fresh[i] > floor ? fresh[i] : floor;
        if (!(smaller < g.pivot[i] * slack)) continue;
        const double base = g.base ? g.base[i] : 0.0;
        LogSum<T>{g.pivot[i], g.acc + i, g.d + 1, W, base}.rescale(function, smaller);
        rescaled = true;
    }
    return rescaled;
}

template <class S, int D>
inline typename S::V squared_distance(const typename S::V* x, typename S::V h2, const typename S::T* y,
                                      typename S::V* diff) {
    typename S::V r2 = h2;
    for (int k = 0; k < D; ++k) {
        diff[k] = S::sub(x[k], S::set(y[k]));
        r2 = S::fma(diff[k], diff[k], r2);
    }
    return r2;
}

// Adds charges with Coulomb's kernel, power D + 1, with everything in registers. The nearest charge may be nearer than the
// pivot as long as no weight can overflow. A block in which one could is summed again with a lower pivot.
template <class S, int D, bool weighted>
void add_coulomb(const Riesz& riesz, const Group<S>& g, const DirectCharges& c) {
    using T = typename S::T;
    using V = typename S::V;
    constexpr int W = S::W;
    const T* y = static_cast<const T*>(c.y);
    const T* q = static_cast<const T*>(c.q);
    const T slack = static_cast<T>(::exp2(-160.0 / (D + 1)));
    V x[D], diff[D], acc[D];
    for (int k = 0; k < D; ++k) x[k] = S::load(g.x + k * W);
    const V h2 = S::load(g.h2);

    if (S::any(S::less(S::set(largest<S>()), S::load(g.pivot)))) {  // the first charges: find a pivot
        V nearest = S::load(g.best);
        for (int j = 0; j < c.n; ++j) nearest = S::min(squared_distance<S, D>(x, h2, y + j * D, diff), nearest);
        rescale<S>(riesz, g, nearest, T(1));
    }
    for (int attempt = 0; attempt < 2; ++attempt) {
        const V inv = S::div(S::set(T(1)), S::load(g.pivot));
        V nearest = S::load(g.best);
        V total = S::set(T(0));
        for (int k = 0; k < D; ++k) acc[k] = S::set(T(0));
        for (int j = 0; j < c.n; ++j) {
            V r2 = squared_distance<S, D>(x, h2, y + j * D, diff);
            nearest = S::min(r2, nearest);
            V weight = inverse_power<S, D + 1>(S::mul(r2, inv));
            if constexpr (weighted) weight = S::mul(weight, S::set(q[j]));
            total = S::add(total, weight);
            for (int k = 0; k < D; ++k) acc[k] = S::fma(weight, diff[k], acc[k]);
        }
        S::store(g.best, nearest);
        if (attempt == 0 && rescale<S>(riesz, g, nearest, slack)) continue;
        S::fold(g.acc, total);
        for (int k = 0; k < D; ++k) S::fold(g.acc + (k + 1) * W, acc[k]);
        return;
    }
}

// Computes r2 of a group of points and `B` charges, [B][W].
template <class S, int B>
inline void distances_of(const Group<S>& g, const typename S::T* y, typename S::T* r2) {
    using V = typename S::V;
    constexpr int W = S::W;
    constexpr int64_t run = 128;  // features per partial sum, few so that float's rounding stays small at large D
    V total[B];
    for (int b = 0; b < B; ++b) total[b] = S::load(g.h2);
    for (int64_t k0 = 0; k0 < g.d; k0 += run) {
        const int64_t k1 = k0 + run < g.d ? k0 + run : g.d;
        V part[B];
        for (int b = 0; b < B; ++b) part[b] = S::set(0);
        for (int64_t k = k0; k < k1; ++k) {
            const V x = S::load(g.x + k * W);
            for (int b = 0; b < B; ++b) {
                V diff = S::sub(x, S::set(y[b * g.d + k]));
                part[b] = S::fma(diff, diff, part[b]);
            }
        }
        for (int b = 0; b < B; ++b) total[b] = S::add(total[b], part[b]);
    }
    for (int b = 0; b < B; ++b) S::store(r2 + b * W, total[b]);
}

// acc += sum_j weight_j (x - y_j) for the `B` features from k0 on
template <class S, int B>
inline void displacements_of(const Group<S>& g, const typename S::T* y, const typename S::T* weight, int n,
                             int64_t k0) {
    using V = typename S::V;
    constexpr int W = S::W;
    V x[B], acc[B];
    for (int b = 0; b < B; ++b) {
        x[b] = S::load(g.x + (k0 + b) * W);
        acc[b] = S::set(0);
    }
    for (int j = 0; j < n; ++j) {
        const V w = S::load(weight + j * W);
        for (int b = 0; b < B; ++b) acc[b] = S::fma(w, S::sub(x[b], S::set(y[j * g.d + k0 + b])), acc[b]);
    }
    for (int b = 0; b < B; ++b) S::fold(g.acc + (1 + k0 + b) * W, acc[b]);
}

// Turns r2 of a group and n charges into weights.
template <class S, class Function>
void weigh(const Function& function, const Group<S>& g, int n, typename S::T* tile) {
    using T = typename S::T;
    using V = typename S::V;
    constexpr int W = S::W;
    const V pivot = S::load(g.pivot), base = g.base_of(), whole = S::add(pivot, base);
    const V inv = S::div(S::set(T(1)), whole);
    function.template with_weight<S>([&](auto weight) {
        for (int j = 0; j < n; ++j) {
            const V r2 = S::load(tile + j * W), excess = S::sub(r2, pivot);
            S::store(tile + j * W, weight({S::mul(S::add(r2, base), inv), excess, S::mul(excess, inv), whole}));
        }
    });
}

// Adds charges with any kernel function at any D: first distances, then weights, then displacements. The weights of the
// block lie in scratch.
template <class S, class Function>
void add_any(const Function& function, const Group<S>& g, const int64_t* self, const DirectCharges& c, void* scratch) {
    using T = typename S::T;
    using V = typename S::V;
    constexpr int W = S::W;
    const T* y = static_cast<const T*>(c.y);
    const T* q = static_cast<const T*>(c.q);
    T* tile = static_cast<T*>(scratch);

    int j = 0;
    for (; j + 8 <= c.n; j += 8) distances_of<S, 8>(g, y + j * g.d, tile + j * W);
    for (; j < c.n; ++j) distances_of<S, 1>(g, y + j * g.d, tile + j * W);

    const bool gaps = leave_out<S>(self, c, tile, static_cast<T>(HUGE_VAL));
    V nearest = S::load(g.best);
    for (j = 0; j < c.n; ++j) nearest = S::min(S::load(tile + j * W), nearest);
    S::store(g.best, nearest);
    rescale<S>(function, g, nearest, T(1));

    weigh<S>(function, g, c.n, tile);
    if (gaps) leave_out<S>(self, c, tile, T(0));
    V total = S::set(0);
    for (j = 0; j < c.n; ++j) {
        V w = S::load(tile + j * W);
        if (q) {
            w = S::mul(w, S::set(q[j]));
            S::store(tile + j * W, w);
        }
        total = S::add(total, w);
    }
    S::fold(g.acc, total);

    int64_t k = 0;
    for (; k + 8 <= g.d; k += 8) displacements_of<S, 8>(g, y, tile, c.n, k);
    for (; k + 2 <= g.d; k += 2) displacements_of<S, 2>(g, y, tile, c.n, k);
    for (; k < g.d; ++k) displacements_of<S, 1>(g, y, tile, c.n, k);
}

template <class S, int D>
void add_coulomb_or_any(const Riesz& riesz, const Group<S>& g, const int64_t* self, const DirectCharges& c,
                        void* scratch) {
    if (any_self_in<S>(self, c)) add_any<S>(riesz, g, self, c, scratch);
    else if (c.q) add_coulomb<S, D, true>(riesz, g, c);
    else add_coulomb<S, D, false>(riesz, g, c);
}

template <class S, class Function>
void add_group(const Function& function, const Group<S>& g, const int64_t* self, const DirectCharges& c,
               void* scratch) {
    if constexpr (std::is_same_v<Function, Riesz>) {
        switch (is_coulomb(function, g.d) ? g.d : 0) {
            case 1: return add_coulomb_or_any<S, 1>(function, g, self, c, scratch);
            case 2: return add_coulomb_or_any<S, 2>(function, g, self, c, scratch);
            case 3: return add_coulomb_or_any<S, 3>(function, g, self, c, scratch);
            case 4: return add_coulomb_or_any<S, 4>(function, g, self, c, scratch);
            case 5: return add_coulomb_or_any<S, 5>(function, g, self, c, scratch);
            case 6: return add_coulomb_or_any<S, 6>(function, g, self, c, scratch);
            case 7: return add_coulomb_or_any<S, 7>(function, g, self, c, scratch);
            case 8: return add_coulomb_or_any<S, 8>(function, g, self, c, scratch);
            default: break;
        }
    }
    add_any<S>(function, g, self, c, scratch);
}

template <class S>
void add(const Request& r, const DirectPoints& p, const DirectCharges& c, void* scratch) {
    using T = typename S::T;
    constexpr int W = S::W;
    if (c.n == 0) return;
    FlushSubnormals flush;
    with_kernel(r.kernel, [&](const auto& function) {
        for (int i = 0; i < p.groups; ++i) {
            const Group<S> g{p.d,
                             static_cast<const T*>(p.x) + i * p.d * W,
                             static_cast<const T*>(p.h2) + i * W,
                             static_cast<T*>(p.pivot) + i * W,
                             static_cast<T*>(p.best) + i * W,
                             p.acc + i * (p.d + 1) * W,
                             p.base ? static_cast<const T*>(p.base) + i * W : nullptr};
            add_group<S>(function, g, p.self ? p.self + i * W : nullptr, c, scratch);
        }
    });
}

}  // namespace

namespace efm {

EFM_KERNELS(DirectKernels) {
    static const DirectKernels kernels{F32::W, F64::W, add<F32>, add<F64>};
    return kernels;
}

}  // namespace efm
