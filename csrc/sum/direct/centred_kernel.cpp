#include "sum/direct/centred_kernel.h"

#include <float.h>

#include "simd/several.h"
#include "simd/vectors.h"

namespace {

using efm::CentredCharges;
using efm::CentredPoints;
using efm::DoubtfulPair;
using V = F32::V;
constexpr int W = F32::W;
// Charges or features at a time: their accumulators fill the registers, except for those of the points and of one charge.
template <int G>
constexpr int together = (F32::kRegisters == 32 ? 24 : 12) / G;
constexpr int group_stride = efm::centred_max_charges * W;

// Computes s for `G` groups of points and `B` charges.
template <int G, int B>
inline void products_of(const CentredPoints& p, const float* y, float* s) {
    constexpr int64_t run = 32;  // features per partial sum, few so that float's rounding stays small
    const int64_t d = p.d;
    for (int64_t k0 = 0; k0 < d; k0 += run) {
        const int64_t k1 = k0 + run < d ? k0 + run : d;
        V total[G][B];
        for (int i = 0; i < G; ++i)
            for (int b = 0; b < B; ++b) total[i][b] = F32::set(0.0f);
        for (int64_t k = k0; k < k1; ++k) {
            V x[G];
            for (int i = 0; i < G; ++i) x[i] = F32::load(p.x + (i * d + k) * W);
            for (int b = 0; b < B; ++b) {
                const V charge = F32::set(y[b * (d + 1) + k]);
                for (int i = 0; i < G; ++i) total[i][b] = F32::fma(x[i], charge, total[i][b]);
            }
        }
        for (int i = 0; i < G; ++i)
            for (int b = 0; b < B; ++b) {
                float* out = s + i * group_stride + b * W;
                const V before = k0 == 0 ? F32::set(y[b * (d + 1) + d]) : F32::load(out);
                F32::store(out, F32::add(before, total[i][b]));
            }
    }
}

// Adds weight (y - centre) over the charges in `rows`, for `G` groups of points and the `B` features from k0 on.
template <int G, int B>
inline void moments_of(const CentredPoints& p, const float* y, const float* weight, const int* rows, int count, int64_t k0) {
    const int64_t d = p.d;
    V acc[G][B];
    for (int i = 0; i < G; ++i)
        for (int b = 0; b < B; ++b) acc[i][b] = F32::set(0.0f);
    for (int j = 0; j < count; ++j) {
        const float* row = y + rows[j] * (d + 1) + k0;
        V w[G];
        for (int i = 0; i < G; ++i) w[i] = F32::load(weight + i * group_stride + j * W);
        for (int b = 0; b < B; ++b) {
            const V charge = F32::set(row[b]);
            for (int i = 0; i < G; ++i) acc[i][b] = F32::fma(w[i], charge, acc[i][b]);
        }
    }
    for (int i = 0; i < G; ++i)
        for (int b = 0; b < B; ++b) F32::fold(p.acc + (i * (d + 2) + 1 + k0 + b) * W, acc[i][b]);
}

// Adds the moments of the features that are left over after whole batches of `together`.
template <int G, int B>
inline void last_moments_of(const CentredPoints& p, const float* y, const float* weight, const int* rows, int count) {
    if constexpr (B > 0) {
        if (p.d % together<G> == B) return moments_of<G, B>(p, y, weight, rows, count, p.d - B);
        last_moments_of<G, B - 1>(p, y, weight, rows, count);
    }
}

// Writes FLT_MAX over the pairs of a point and its own charge.
void leave_out(const CentredPoints& p, const CentredCharges& c, float* s) {
    for (int lane = 0; p.self && lane < p.groups * W; ++lane) {
        if (p.self[lane] < c.index[0] || p.self[lane] > c.index[c.n - 1]) continue;
        for (int j = 0; j < c.n; ++j)
            if (c.index[j] == p.self[lane]) s[lane / W * group_stride + j * W + lane % W] = FLT_MAX;
    }
}

V limit_of(const CentredPoints& p, const CentredCharges& c, int group) {
    return F32::add(F32::load(p.limit + group * W), F32::set(c.slack));
}

// Appends the doubtful pairs of one group that may have a weight to the list, which has `found` entries, and removes them
// from s and from nearest. Returns the new number of entries.
int list_doubtful(const CentredPoints& p, const CentredCharges& c, int group, V least, float* s, float* nearest,
                  DoubtfulPair* pairs, int found) {
    const V bound = F32::min(least, limit_of(p, c, group));
    float bounds[W];
    F32::store(bounds, bound);
    V smallest = F32::set(FLT_MAX);
    for (int j = 0; j < c.n; ++j) {
        float* row = s + j * W;
        if (F32::any(F32::less(F32::load(row), bound)))
            for (int i = 0; i < W; ++i) {
                if (!(row[i] < bounds[i])) continue;
                pairs[found++] = {group * W + i, j};
                row[i] = FLT_MAX;
            }
        smallest = F32::min(F32::load(row), smallest);
    }
    F32::store(nearest, smallest);
    return found;
}

template <int G>
int measure_groups(const CentredPoints& p, const CentredCharges& c, float* s, float* nearest, DoubtfulPair* pairs) {
    int j = 0;
    for (; j + together<G> <= c.n; j += together<G>) products_of<G, together<G>>(p, c.y + j * (p.d + 1), s + j * W);
    for (; j < c.n; ++j) products_of<G, 1>(p, c.y + j * (p.d + 1), s + j * W);
    leave_out(p, c, s);
    int found = 0;
    for (int i = 0; i < G; ++i) {
        float* tile = s + i * group_stride;
        V smallest = F32::set(FLT_MAX);
        for (j = 0; j < c.n; ++j) smallest = F32::min(F32::load(tile + j * W), smallest);
        F32::store(nearest + i * W, smallest);
        const V least = F32::add(F32::load(p.doubt + i * W), F32::set(c.doubt));
        if (!F32::any(F32::less(smallest, least))) continue;
        found = list_doubtful(p, c, i, least, tile, nearest + i * W, pairs, found);
    }
    return found;
}

int measure(const CentredPoints& p, const CentredCharges& c, float* s, float* nearest, DoubtfulPair* pairs) {
    FlushSubnormals flush;
    return p.groups == 2 ? measure_groups<2>(p, c, s, nearest, pairs) : measure_groups<1>(p, c, s, nearest, pairs);
}

// Collects the charges that have a weight for any point, and moves their s together.
template <int G>
int gather(const CentredPoints& p, const CentredCharges& c, float* s, int* rows) {
    V limit[G];
    for (int i = 0; i < G; ++i) limit[i] = limit_of(p, c, i);
    int count = 0;
    for (int j = 0; j < c.n; ++j) {
        V row[G];
        bool any = false;
        for (int i = 0; i < G; ++i) {
            row[i] = F32::load(s + i * group_stride + j * W);
            any |= F32::any(F32::less(row[i], limit[i]));
        }
        for (int i = 0; i < G; ++i) F32::store(s + i * group_stride + count * W, row[i]);
        rows[count] = j;
        count += any;
    }
    return count;
}

// Turns s of one group into weights and adds them up.
template <class Function>
void weigh(const Function& function, const CentredPoints& p, const CentredCharges& c, int group, float* s, const int* rows,
           int count) {
    using Four = Several<F32, 4>;
    const double *pivot = p.pivot + group * W, *base = p.base + group * W;
    float shifts[W], wholes[W], inverses[W];
    for (int i = 0; i < W; ++i) {
        shifts[i] = static_cast<float>(pivot[i]);
        wholes[i] = static_cast<float>(base[i] + pivot[i]);
        inverses[i] = static_cast<float>(1.0 / (base[i] + pivot[i]));
    }
    const Four::V shift = Four::all(F32::load(shifts)), whole = Four::all(F32::load(wholes));
    const Four::V inverse = Four::all(F32::load(inverses)), limit = Four::all(limit_of(p, c, group));
    const Four::V zero = Four::set(0.0f), one = Four::set(1.0f);
    for (int j = count; j % 4 != 0; ++j) F32::store(s + j * W, F32::set(FLT_MAX));
    function.template with_weight<Four>([&](auto weight) {
        constexpr int run = 32;  // weights per partial sum in float
        for (int j0 = 0; j0 < count; j0 += run) {
            V total = F32::set(0.0f);
            for (int j = j0; j < count && j < j0 + run; j += 4) {
                const Four::V here = Four::load(s + j * W), excess = Four::sub(here, shift);
                const Four::V by_pivot = Four::mul(excess, inverse);
                Four::V w = weight({Four::add(one, by_pivot), excess, by_pivot, whole});
                w = Four::select(Four::less(here, limit), w, zero);
                if (c.q)
                    for (int b = 0; b < 4 && j + b < count; ++b) w.a[b] = F32::mul(w.a[b], F32::set(c.q[rows[j + b]]));
                Four::store(s + j * W, w);
                for (int b = 0; b < 4; ++b) total = F32::add(total, w.a[b]);
            }
            F32::fold(p.acc + group * (p.d + 2) * W, total);
        }
    });
}

template <int G>
void add_groups(const efm::Kernel& kernel, const CentredPoints& p, const CentredCharges& c, float* s) {
    int rows[efm::centred_max_charges];
    const int count = gather<G>(p, c, s, rows);
    if (count == 0) return;
    with_kernel(kernel, [&](const auto& function) {
        for (int i = 0; i < G; ++i) weigh(function, p, c, i, s + i * group_stride, rows, count);
    });
    int64_t k = 0;
    for (; k + together<G> <= p.d; k += together<G>) moments_of<G, together<G>>(p, c.y, s, rows, count, k);
    last_moments_of<G, together<G> - 1>(p, c.y, s, rows, count);
}

void add(const efm::Kernel& kernel, const CentredPoints& p, const CentredCharges& c, float* s) {
    FlushSubnormals flush;
    if (p.groups == 2) add_groups<2>(kernel, p, c, s);
    else add_groups<1>(kernel, p, c, s);
}

double pack(const float* y, const float* centre, int64_t d, float* out) {
    // sums of squares go to double after every 4, so that float's rounding stays small
    double total[W] = {};
    int64_t k = 0;
    while (k + W <= d) {
        V part = F32::set(0.0f);
        for (int run = 0; run < 4 && k + W <= d; ++run, k += W) {
            const V diff = F32::sub(F32::load(y + k), F32::load(centre + k));
            F32::store(out + k, diff);
            part = F32::fma(diff, diff, part);
        }
        F32::fold(total, part);
    }
    double sum = 0.0;
    for (; k < d; ++k) {
        out[k] = y[k] - centre[k];
        sum += static_cast<double>(out[k]) * out[k];
    }
    for (int i = 0; i < W; ++i) sum += total[i];
    out[d] = static_cast<float>(sum);
    return sum;
}

}  // namespace

namespace efm {

EFM_KERNELS(CentredKernels) {
    static const CentredKernels kernels{F32::W, pack, measure, add};
    return kernels;
}

}  // namespace efm
