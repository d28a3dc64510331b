#include "sum/large/large.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "simd/cpu.h"
#include "sum/direct/direct_sum.h"
#include "core/elements.h"

namespace efm {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// log of the weight at r2 relative to that at ref
double log_ratio(const Request& r, double r2, double ref) {
    if (r2 == ref) return 0.0;
    if (r.kernel == Kernel::gaussian) return (ref - r2) / (2.0 * r.bandwidth * r.bandwidth);
    return -0.5 * r.power * std::log1p((r2 - ref) / ref);
}

struct Nearest {
    int count = 0;
    int charge[rows_max_nearest];  // in the chunk
    float estimate[rows_max_nearest];
};

Nearest find_nearest(const LargeBlock& b, float* s) {
    Nearest found;
    found.count = row_kernels().nearest(s, b.y2, b.charges, b.nearest, found.estimate, found.charge);
    for (int i = 1; i < found.count; ++i)  // nearest first
        for (int k = i; k > 0 && found.estimate[k] < found.estimate[k - 1]; --k) {
            std::swap(found.estimate[k], found.estimate[k - 1]);
            std::swap(found.charge[k], found.charge[k - 1]);
        }
    return found;
}

// rest += weight (from - y) over the entries of s that are not 0, one by one
void displace_each(const Request& r, const LargeBlock& b, float* s, const float* from, float* rest, int count,
                   RowScratch& scratch) {
    const int* index = scratch.indices.data();
    for (int first = 0; first < count; first += rows_max_nearest) {
        const int some = std::min(rows_max_nearest, count - first);
        const float* y[rows_max_nearest];
        float weight[rows_max_nearest];
        for (int k = 0; k < some; ++k) {
            const int j = index[first + k];
            y[k] = large_charge(r, b.first_charge + j, scratch.rows.data() + k * r.x.cols);
            weight[k] = s[j];
            s[j] = 0.0f;
        }
        row_kernels().displace(rest, 1.0f, from, y, weight, some, r.x.cols);
    }
}

}  // namespace

const float* large_charge(const Request& r, int64_t j, float* buffer) {
    if (r.y.dtype == Dtype::f32 && r.y.col_stride == 1) return static_cast<const float*>(r.y.data) + j * r.y.row_stride;
    read_row(r.y, j, buffer);
    return buffer;
}

int64_t large_hide_self(const Request& r, const LargeBlock& b, int64_t row) {
    if (r.first_self == no_self) return -1;
    const int64_t self = b.first_point + row - r.first_self - b.first_charge;
    if (self < 0 || self >= b.charges) return -1;
    b.s[row * b.stride + self] = -FLT_MAX;  // its distance becomes infinite
    return self;
}

double large_reach(const Request& r, double ref, float cutoff) {
    const double bits = -static_cast<double>(cutoff);
    if (r.kernel == Kernel::gaussian) return bits * 0.6931471805599453 * 2.0 * r.bandwidth * r.bandwidth;
    return ref * (std::exp2(bits / (0.5 * r.power)) - 1.0);
}

float large_cutoff(const Request& r) {
    double spread = 1.0;
    if (r.weight) {
        double low = infinity, high = 0.0;
        for (int64_t j = 0; j < r.y.rows; ++j) {
            const double q = std::fabs(r.weight[j]);
            if (q == 0.0) continue;
            low = std::min(low, q);
            high = std::max(high, q);
        }
        if (high > 0.0) spread = high / low;
    }
    return static_cast<float>(std::max(-126.0, -26.0 - std::log2(static_cast<double>(r.y.rows)) - std::log2(spread)));
}

void large_row(const Request& r, const LargeBlock& b, int64_t row, const LargeState& state, RowScratch& scratch) {
    const RowKernels& kernels = row_kernels();
    const int64_t d = r.x.cols, point = b.first_point + row;
    float* s = b.s + row * b.stride;
    const float* x = static_cast<const float*>(r.x.data) + point * r.x.row_stride;
    const double h2 = r.height2 ? r.height2[point] : r.softening2;

    int counted = b.counted;
    const int64_t self = large_hide_self(r, b, row);
    if (self >= 0) counted -= b.y2[self] < FLT_MAX;
    if (!std::isfinite(b.x2[row]) || !std::isfinite(h2)) state.fate[point] |= not_a_number;
    const Nearest found = find_nearest(b, s);
    if (found.count == 0 && counted > 0) state.fate[point] |= not_a_number;
    if (found.count == 0 || state.fate[point] & not_a_number) {
        std::fill(s, s + b.charges, 0.0f);
        return;
    }

    // exact distances of those that can matter beside the nearest one
    double exact[rows_max_nearest];
    const float* y[rows_max_nearest];
    int index[rows_max_nearest];
    int kept = 0;
    const double before = state.ref[point];
    double ref = before, closest = infinity;
    for (int k = 0; k < found.count; ++k) {
        const int j = found.charge[k];
        const double doubt = 0x1p-12 * (b.x2[row] + b.y2[j]);
        const double least = std::max(0.0, b.x2[row] + found.estimate[k] - doubt) + h2;
        if (least > ref && log_ratio(r, least, ref) < b.cutoff * 0.6931471805599453) continue;
        y[kept] = large_charge(r, b.first_charge + j, scratch.rows.data() + kept * d);
        const double square = kernels.exact_distance(x, y[kept], d);
        closest = std::min(closest, square);
        exact[kept] = square + h2;
        index[kept] = j;
        ref = std::min(ref, exact[kept]);
        ++kept;
    }
    for (int k = 0; k < found.count; ++k) s[found.charge[k]] = static_cast<float>(infinity);

    const bool on_charge = r.kernel == Kernel::riesz && ref == 0.0;
    if (on_charge && before != 0.0) state.w[point] = state.along[point] = 0.0;
    float weight[rows_max_nearest];
    double near_total = 0.0;
    int zeros = 0;
    for (int k = 0; k < kept; ++k) {
        double value;
        if (on_charge) value = exact[k] == 0.0;
        else value = std::exp(log_ratio(r, exact[k], ref));
        zeros += exact[k] == 0.0;
        if (b.q) value *= b.q[index[k]];
        weight[k] = static_cast<float>(value);
        near_total += value;
    }
    // more coincident charges than were looked at
    if (on_charge && zeros == b.nearest && b.charges > zeros) state.fate[point] |= sum_again;
    state.ref[point] = ref;
    if (on_charge) {
        state.w[point] += near_total;
        std::fill(s, s + b.charges, 0.0f);
        return;
    }
    const double factor = before == infinity ? 0.0 : std::exp(log_ratio(r, before, ref));
    const float shift = static_cast<float>(ref - h2 - b.x2[row]);
    const double reach = large_reach(r, ref, b.cutoff);
    const double total = kernels.weigh(r, s, b.q, b.charges, shift, ref, b.cutoff, reach);
    state.w[point] = state.w[point] * factor + near_total + total;
    const int most = large_few(b.charges), count = kernels.filled(s, b.charges, most, scratch.index(most));
    const bool few = count <= most;
    // differences from a close charge are small and taken as they are; those from far ones have much in common
    const bool far = 4.0 * closest > b.x2[row];
    const float* from = far ? r.centre : x;
    state.along[point] = state.along[point] * factor + (far ? near_total : 0.0) + (far || !few ? total : 0.0);
    float* rest = state.rest + point * d;
    kernels.displace(rest, static_cast<float>(factor), from, y, weight, kept, d);
    if (few) displace_each(r, b, s, from, rest, count, scratch);
}

void large_finish(const Request& r, const LargeState& state, int64_t point, double* m) {
    const int64_t d = r.x.cols;
    float* rest = state.rest + point * d;
    double& w = state.w[point];
    double& along = state.along[point];
    const double ref = state.ref[point];
    const bool riesz = r.kernel == Kernel::riesz;
    if (state.fate[point] & not_a_number) {
        m[point] = std::numeric_limits<double>::quiet_NaN();
        w = along = std::numeric_limits<double>::quiet_NaN();
        std::fill(rest, rest + d, std::numeric_limits<float>::quiet_NaN());
        return;
    }
    bool again = state.fate[point] & sum_again;
    again = again || (riesz && ref != 0.0 && ref < direct_tiny32) || !std::isfinite(w);
    if (!again && riesz && ref == 0.0) {
        m[point] = infinity;
        along = 0.0;
        std::fill(rest, rest + d, 0.0f);
        return;
    }
    if (again) {
        std::vector<double> sums(d + 1);
        careful_point(r, point, m + point, sums.data());
        w = sums[0];
        along = 0.0;
        std::transform(sums.begin() + 1, sums.end(), rest, [](double value) { return static_cast<float>(value); });
        return;
    }
    if (ref == infinity) m[point] = -infinity;
    else m[point] = riesz ? -0.5 * r.power * std::log(ref) : -ref / (2.0 * r.bandwidth * r.bandwidth);
}

bool large_weigh(const Request& r, const LargeBlock& b, const LargeState& state, int threads, const Poll& poll) {
    constexpr int64_t group = 8;
    return parallel_for((b.points + group - 1) / group, threads, poll, [&](int64_t task, int) {
        RowScratch scratch(r.x.cols);
        for (int64_t i = task * group; i < std::min(b.points, (task + 1) * group); ++i) large_row(r, b, i, state, scratch);
    });
}

bool centre_rows(const Matrix& a, const float* centre, float* out, double* squares, int threads, const Poll& poll) {
    constexpr int64_t group = 16;
    return parallel_for((a.rows + group - 1) / group, threads, poll, [&](int64_t task, int) {
        for (int64_t i = task * group; i < std::min(a.rows, (task + 1) * group); ++i) {
            read_row(a, i, out + i * a.cols);
            squares[i] = row_kernels().shift(out + i * a.cols, centre, a.cols);
        }
    });
}

}  // namespace efm
