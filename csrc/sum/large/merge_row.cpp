#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "core/logsum.h"
#include "sum/large/large.h"
#include "sum/row_kernel.h"

namespace efm {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// The nearest charges of a chunk according to the products, nearest first.
struct Candidates {
    int count = 0;
    int charge[large_max_nearest];  // in the chunk
    float estimate[large_max_nearest];
};

// Those of the candidates that can have a weight, with distances by direct difference.
struct NearCharges {
    int count = 0;
    int charge[large_max_nearest];
    const float* y[large_max_nearest];
    double r2[large_max_nearest];
    float weight[large_max_nearest];
    double total = 0.0;         // of the weights
    double closest = infinity;  // |x - y|^2 of the nearest
};

// Merges one row of products into the sums of its point.
template <class Function>
class RowMerge {
public:
    RowMerge(const Function& function, const LargeBlock& b, int64_t row, LargeSums& sums, RowScratch& scratch)
        : function_(function), r_(sums.request), chunk_(b.chunk), row_(r_, b, row), sums_(sums), scratch_(scratch),
          d_(r_.x.cols), before_(sums.pivot[row_.point]), w_(sums.w[row_.point]), along_(sums.along[row_.point]) {}

    void run() {
        Candidates found;
        if (!find_candidates(found)) return clear();
        measure(found);
        sums_.pivot[row_.point] = pivot_;
        if (function_.singular && pivot_ == 0.0) merge_on_charge();
        else merge();
    }

private:
    void clear() { std::fill(row_.s, row_.s + chunk_.count, 0.0f); }

    // Returns false if there is nothing to merge.
    bool find_candidates(Candidates& found) {
        int counting = chunk_.counting;
        const int64_t self = row_.hide_self(r_, chunk_);
        if (self >= 0) counting -= chunk_.square[self] < FLT_MAX;
        uint8_t& fate = sums_.fate[row_.point];
        if (!std::isfinite(row_.x2) || !std::isfinite(row_.base)) fate |= not_a_number;
        found.count = best_kernels<LargeKernels>().nearest(row_.s, chunk_.square.data(), chunk_.count, sums_.nearest,
                                                          found.estimate, found.charge);
        for (int i = 1; i < found.count; ++i)
            for (int k = i; k > 0 && found.estimate[k] < found.estimate[k - 1]; --k) {
                std::swap(found.estimate[k], found.estimate[k - 1]);
                std::swap(found.charge[k], found.charge[k - 1]);
            }
        if (found.count == 0 && counting > 0) fate |= not_a_number;
        return found.count > 0 && !(fate & not_a_number);
    }

    // Computes exact distances of the candidates that can have a weight beside the nearest one, and the new pivot.
    void measure(const Candidates& found) {
        pivot_ = before_;
        for (int k = 0; k < found.count; ++k) {
            const int j = found.charge[k];
            const double doubt = 0x1p-12 * (row_.x2 + chunk_.square[j]);
            const double least = std::max(0.0, row_.x2 + found.estimate[k] - doubt) + row_.base;
            if (least > pivot_ && log_weight(function_, least, pivot_) < sums_.cutoff * 0.6931471805599453) continue;
            const float* y = large_charge(r_, chunk_.first + j, scratch_.rows.data() + near_.count * d_);
            const double square = best_kernels<RowKernels>().exact_distance(row_.x, y, d_);
            near_.closest = std::min(near_.closest, square);
            near_.y[near_.count] = y;
            near_.r2[near_.count] = square + row_.base;
            near_.charge[near_.count] = j;
            pivot_ = std::min(pivot_, near_.r2[near_.count]);
            ++near_.count;
        }
        for (int k = 0; k < found.count; ++k) row_.s[found.charge[k]] = static_cast<float>(infinity);
    }

    template <class WeightOf>
    void weigh_near(WeightOf&& weight_of) {
        for (int k = 0; k < near_.count; ++k) {
            double weight = weight_of(near_.r2[k]);
            if (chunk_.weights()) weight *= chunk_.weights()[near_.charge[k]];
            near_.weight[k] = static_cast<float>(weight);
            near_.total += weight;
        }
    }

    // The point lies on a charge: only the charges at that place count.
    void merge_on_charge() {
        if (before_ != 0.0) w_ = along_ = 0.0;
        weigh_near([](double r2) { return r2 == 0.0 ? 1.0 : 0.0; });
        const auto zeros = std::count(near_.r2, near_.r2 + near_.count, 0.0);
        // all candidates coincide with the point, so there may be more such charges
        if (zeros == sums_.nearest && chunk_.count > zeros) sums_.fate[row_.point] |= sum_again;
        w_ += near_.total;
        clear();
    }

    void merge() {
        weigh_near([&](double r2) { return std::exp(log_weight(function_, r2, pivot_)); });
        const LargeKernels& kernels = best_kernels<LargeKernels>();
        const double factor = merge_factor(function_, before_, pivot_);
        const RowPivot about{pivot_, static_cast<float>(pivot_ - row_.base - row_.x2), sums_.cutoff,
                             function_.reach(pivot_, -static_cast<double>(sums_.cutoff))};
        const double total = kernels.weigh(r_.kernel, row_.s, chunk_.weights(), chunk_.count, about);
        w_ = w_ * factor + near_.total + total;
        const int most = large_few(chunk_.count);
        const int count = kernels.filled(row_.s, chunk_.count, most, scratch_.index(most));
        const bool few = count <= most;
        // differences from a near charge are small and summed as x - y; those from far charges are summed as centre - y,
        // because they share the large part x - centre
        const bool far = 4.0 * near_.closest > row_.x2;
        const float* from = far ? r_.centre : row_.x;
        along_ = along_ * factor + (far ? near_.total : 0.0) + (far || !few ? total : 0.0);
        float* rest = sums_.rest + row_.point * d_;
        kernels.displace(rest, static_cast<float>(factor), from, near_.y, near_.weight, near_.count, d_);
        if (few) displace_each(from, rest, count);
    }

    // rest += weight (from - y) over the entries of s that are not 0, one by one; sets them to 0
    void displace_each(const float* from, float* rest, int count) {
        const int* index = scratch_.indices.data();
        for (int first = 0; first < count; first += large_max_nearest) {
            const int some = std::min(large_max_nearest, count - first);
            const float* y[large_max_nearest];
            float weight[large_max_nearest];
            for (int k = 0; k < some; ++k) {
                const int j = index[first + k];
                y[k] = large_charge(r_, chunk_.first + j, scratch_.rows.data() + k * d_);
                weight[k] = row_.s[j];
                row_.s[j] = 0.0f;
            }
            best_kernels<LargeKernels>().displace(rest, 1.0f, from, y, weight, some, d_);
        }
    }

    const Function& function_;
    const Request& r_;
    const ChargeChunk& chunk_;
    const LargeRow row_;
    LargeSums& sums_;
    RowScratch& scratch_;
    int64_t d_;
    double before_, pivot_ = infinity;
    double &w_, &along_;
    NearCharges near_;
};

}  // namespace

void merge_row(const LargeBlock& b, int64_t row, LargeSums& sums, RowScratch& scratch) {
    with_kernel(sums.request.kernel, [&](const auto& function) { RowMerge(function, b, row, sums, scratch).run(); });
}

}  // namespace efm
