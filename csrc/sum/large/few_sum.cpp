#include "sum/large/few_sum.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/elements.h"
#include "core/logsum.h"
#include "sum/cutoff.h"
#include "sum/direct/careful.h"
#include "sum/direct/direct_kernel.h"
#include "sum/large/large_kernel.h"
#include "sum/row_kernel.h"

namespace efm {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int64_t block_bytes = 32 << 10, most_charges = 256, least_charges = 16;

// A block of charges as rows of floats.
struct Rows {
    int64_t first, count;
    std::vector<const float*> y;
    std::vector<float> weight;  // empty for all ones
};

// One point and its sums so far.
template <class Function>
class FewPoint {
public:
    FewPoint(const Function& function, const Request& r, double cutoff, int64_t point)
        : function_(function), r_(r), cutoff_(cutoff), point_(point), d_(r.x.cols), base_(r.base(point)), x_(d_), part_(d_),
          sums_(2 + d_) {
        read_row(r.x, point, x_.data());
        square_ = best_kernels<RowKernels>().exact_distance(x_.data(), r.centre, d_);
    }

    void add(const Rows& rows) {
        const int count = static_cast<int>(rows.count);
        r2_.resize(count);
        s_.resize(count);
        index_.resize(count);
        for (int j = 0; j < count; ++j) r2_[j] = counts(rows.first + j) ? distance(rows.y[j]) : infinity;
        const double nearest = *std::min_element(r2_.begin(), r2_.end());
        if (nearest == infinity) return;
        if (nearest < pivot_) LogSum<double>{pivot_, sums_.data(), 2 + d_, 1, base_}.rescale(function_, nearest);
        for (int j = 0; j < count; ++j) s_[j] = static_cast<float>(r2_[j] - pivot_);
        const double whole = pivot_ + base_;
        const LargeKernels& kernels = best_kernels<LargeKernels>();
        const float* weight = rows.weight.empty() ? nullptr : rows.weight.data();
        const double total = kernels.weigh(r_.kernel, s_.data(), weight, count,
                                           {whole, 0.0f, static_cast<float>(cutoff_), function_.reach(whole, -cutoff_)});
        // differences from a near charge are small and summed as x - y; those from far charges are summed as centre - y,
        // because they share the large part x - centre
        const bool far = 4.0 * nearest > square_;
        sums_[0] += total;
        if (far) sums_[1] += total;
        displace(rows, far ? r_.centre : x_.data(), kernels.filled(s_.data(), count, count, index_.data()));
    }

    void write(const Result& out) {
        const bool known = known_ && std::all_of(sums_.begin(), sums_.end(), [](double part) { return std::isfinite(part); });
        if (!known || (function_.singular && pivot_ + base_ < direct_tiny32)) {
            careful_point(r_, point_, &out.m[point_], sums_.data() + 1);
            out.w[point_] = sums_[1];
            out.along[point_] = 0.0;
        } else {
            out.m[point_] = function_.log_kernel(pivot_ + base_);
            out.w[point_] = sums_[0];
            out.along[point_] = sums_[1];
        }
        float* rest = static_cast<float*>(out.rest) + point_ * d_;
        std::transform(sums_.begin() + 2, sums_.end(), rest, [](double part) { return static_cast<float>(part); });
    }

private:
    bool counts(int64_t j) const {
        return r_.counts(j) && !(r_.first_self != no_self && j == point_ - r_.first_self);
    }

    // |x - y|^2, without the base
    double distance(const float* y) {
        const double r2 = best_kernels<RowKernels>().distance(x_.data(), y, d_);
        known_ &= std::isfinite(r2);
        return r2;
    }

    // rest += weight (from - y) over the `count` charges that have a weight
    void displace(const Rows& rows, const float* from, int count) {
        if (count == 0) return;
        std::fill(part_.begin(), part_.end(), 0.0f);
        for (int first = 0; first < count; first += large_max_nearest) {
            const int some = std::min(large_max_nearest, count - first);
            const float* y[large_max_nearest];
            float weight[large_max_nearest];
            for (int k = 0; k < some; ++k) {
                y[k] = rows.y[index_[first + k]];
                weight[k] = s_[index_[first + k]];
            }
            best_kernels<LargeKernels>().displace(part_.data(), 1.0f, from, y, weight, some, d_);
        }
        for (int64_t k = 0; k < d_; ++k) sums_[2 + k] += part_[k];
    }

    const Function function_;
    const Request& r_;
    double cutoff_;
    int64_t point_, d_;
    double base_, square_, pivot_ = infinity;
    bool known_ = true;  // whether all distances are finite
    std::vector<float> x_, part_, s_;
    std::vector<double> r2_, sums_;  // sums: w, along, rest
    std::vector<int> index_;
};

// Reads the charges [first, first + count). Rows point to the charges themselves or, if converted, to `buffer`.
void read_rows(const Request& r, int64_t first, int64_t count, std::vector<float>& buffer, Rows& rows) {
    const int64_t d = r.y.cols;
    const bool ready = r.y.dtype == Dtype::f32 && r.y.col_stride == 1;
    rows.first = first;
    rows.count = count;
    rows.y.resize(count);
    rows.weight.resize(r.weight ? count : 0);
    if (!ready) buffer.resize(count * d);
    for (int64_t j = 0; j < count; ++j) {
        if (!ready) read_row(r.y, first + j, buffer.data() + j * d);
        rows.y[j] = ready ? static_cast<const float*>(r.y.data) + (first + j) * r.y.row_stride : buffer.data() + j * d;
        if (r.weight) rows.weight[j] = static_cast<float>(r.weight[first + j]);
    }
}

// Sums the points [first, last) in one pass over the charges.
template <class Function>
void sum_points(const Function& function, const Request& r, const Result& out, int64_t first, int64_t last) {
    const double cutoff = cutoff_of(r);
    const int64_t block = std::clamp(block_bytes / (4 * r.x.cols), least_charges, most_charges);
    std::vector<FewPoint<Function>> points;
    points.reserve(last - first);
    for (int64_t i = first; i < last; ++i) points.emplace_back(function, r, cutoff, i);
    std::vector<float> buffer;
    Rows rows;
    for (int64_t j = 0; j < r.y.rows; j += block) {
        read_rows(r, j, std::min(block, r.y.rows - j), buffer, rows);
        for (auto& point : points) point.add(rows);
    }
    for (auto& point : points) point.write(out);
}

}  // namespace

bool few_sum(const Request& r, const Result& out, int threads, const Poll& poll) {
    const int64_t n = r.x.rows, each = (n + threads - 1) / threads;
    return with_kernel(r.kernel, [&](const auto& function) {
        return parallel_for((n + each - 1) / each, threads, poll, [&](int64_t task, int) {
            sum_points(function, r, out, task * each, std::min(n, (task + 1) * each));
        });
    });
}

}  // namespace efm
