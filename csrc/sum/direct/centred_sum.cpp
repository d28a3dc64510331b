#include "sum/direct/centred_sum.h"

#include <cfloat>
#include <cmath>
#include <limits>
#include <memory>

#include "core/logsum.h"
#include "sum/centred.h"
#include "sum/cutoff.h"
#include "sum/direct/centred_charges.h"
#include "sum/direct/direct_kernel.h"
#include "sum/row_kernel.h"

namespace efm {
namespace {

// The typical error of s, relative to |x - c|^2 + |y - c|^2. Errors up to ten times as large were seen.
constexpr double rounding = 0x1p-24;
constexpr double slack = 0x1p-20;        // a bound on the error of s, relative to the same
constexpr double largest_square = 1e30;  // the inverse of this is still a normal float
// A point is left to direct differences if the nearest charge's r2 is below this fraction of |x - c|^2,
constexpr double smallest_share = 1e-8;
// or if |x - y|^2 is: then x - y, as a difference of rows less the centre, has too few digits.
constexpr double least_apart = 1e-4;
// It is left as well if it has more doubtful pairs than many_doubtful plus one in `one_in` of all pairs; they cost more.
constexpr int64_t many_doubtful = 64, one_in = 32;

// The fraction of a weight that rounding typically may change. Where charges nearly cancel, displacements multiply it by
// ten, and 1e-4 is promised there. With more features all distances become more alike, and a smaller fraction would make
// most pairs doubtful.
double change_of(int64_t d) { return 2.5e-6 * std::sqrt(std::max(1.0, static_cast<double>(d) / 32.0)); }

// Where the sums go, and which points are left to direct differences (1) or not (0).
struct Outcome {
    const Result& out;
    std::vector<uint8_t>& left;
};

// The points of one task, in lanes, and their sums so far.
template <class Function>
class CentredTile {
public:
    CentredTile(const Function& function, const Request& r, double cutoff, int64_t first, int64_t count)
        : function_(function), r_(r), cutoff_(cutoff), change_(change_of(r.x.cols)), first_(first), count_(count), d_(r.x.cols),
          lanes_((count + width_ - 1) / width_ * width_), x_(lanes_ * d_), base_(lanes_), square_(lanes_),
          doubt_(lanes_, -FLT_MAX), limit_(lanes_, -FLT_MAX), pivot_(lanes_, std::numeric_limits<double>::infinity()),
          acc_(lanes_ * (d_ + 2)), self_(lanes_, -1), doubtful_(lanes_), rows_(2 * d_) {
        std::vector<float> row(d_);
        for (int64_t i = 0; i < lanes_; ++i) {
            const int64_t point = first_ + std::min(i, count_ - 1);
            square_[i] = centre_row(r_.x, point, r_.centre, row.data());
            base_[i] = square_[i] + r_.base(point);
            float* x = x_.data() + (i / width_) * d_ * width_ + i % width_;
            for (int64_t k = 0; k < d_; ++k) x[k * width_] = -2.0f * row[k];
            if (r_.first_self != no_self) self_[i] = point - r_.first_self;
            if (i >= count_ || !(base_[i] < largest_square)) continue;  // a lane beyond the points, or a point too far away
            doubt_[i] = static_cast<float>(function_.least_known(rounding * square_[i], change_) - base_[i]);
            limit_[i] = FLT_MAX;
            farthest_ = std::max(farthest_, square_[i]);
        }
    }

    // Adds a chunk of charges to all points.
    void add(const CentredChunk& chunk) {
        std::vector<float> s(centred_max_groups * centred_max_charges * width_);
        for (int64_t b = 0; b < chunk.blocks(); ++b) {
            CentredCharges charges = chunk.block(b);
            if (charges.n == 0) continue;
            leave_unknown(charges.largest);
            charges.doubt = static_cast<float>(function_.least_known(rounding * charges.largest, change_));
            charges.slack = static_cast<float>(slack * charges.largest);
            seen_ += charges.n;
            for (int64_t lane = 0; lane < lanes_; lane += centred_max_groups * width_) add_block(charges, lane, s.data());
        }
    }

    void write(const Outcome& to) {
        const Result& out = to.out;
        for (int64_t i = 0; i < count_; ++i) {
            const int64_t point = first_ + i;
            double* acc = acc_of(i);
            bool finite = !is_left(i);
            for (int64_t k = 0; finite && k <= d_ + 1; ++k) finite = std::isfinite(acc[k * width_]);
            to.left[point] = !finite;
            if (!finite) continue;
            out.m[point] = sum_of(i).log_scale(function_);
            out.w[point] = acc[0];
            out.along[point] = acc[0] - acc[(d_ + 1) * width_];
            float* rest = static_cast<float*>(out.rest) + point * d_;
            for (int64_t k = 0; k < d_; ++k) rest[k] = static_cast<float>(-acc[(k + 1) * width_]);
        }
    }

private:
    bool is_left(int64_t i) const { return limit_[i] == -FLT_MAX; }
    void leave(int64_t i) { doubt_[i] = limit_[i] = -FLT_MAX; }
    double* acc_of(int64_t i) { return acc_.data() + (i / width_) * (d_ + 2) * width_ + i % width_; }
    LogSum<double> sum_of(int64_t i) { return {pivot_[i], acc_of(i), d_ + 2, width_, base_[i]}; }

    // Leaves the points whose distances to charges of this squared length lose too many digits.
    void leave_unknown(double square) {
        const auto known = [&](double other) {
            return square < largest_square && std::isfinite(function_.least_known(rounding * (square + other), change_));
        };
        if (known(farthest_)) return;
        for (int64_t i = 0; i < count_; ++i)
            if (!known(square_[i])) leave(i);
    }

    void add_block(const CentredCharges& charges, int64_t lane, float* s) {
        const int groups = static_cast<int>(std::min<int64_t>(centred_max_groups, (lanes_ - lane) / width_));
        const int64_t end = lane + groups * width_;
        if (std::all_of(limit_.begin() + lane, limit_.begin() + end, [](float limit) { return limit == -FLT_MAX; })) return;
        const CentredPoints points{d_, groups, x_.data() + lane * d_, base_.data() + lane, doubt_.data() + lane,
                                   limit_.data() + lane, r_.first_self == no_self ? nullptr : self_.data() + lane,
                                   pivot_.data() + lane, acc_.data() + lane * (d_ + 2)};
        float nearest[centred_max_lanes];
        pairs_.resize(static_cast<size_t>(groups) * width_ * charges.n);
        const int found = kernels_.measure(points, charges, s, nearest, pairs_.data());
        for (int64_t i = lane; i < end; ++i) {
            if (is_left(i)) continue;
            if (nearest[i - lane] < (least_apart - 1.0) * square_[i]) leave(i);
            else lower_pivot(i, nearest[i - lane]);
        }
        for (int k = 0; k < found; ++k) add_pair(lane + pairs_[k].lane, charges, pairs_[k].charge);
        kernels_.add(r_.kernel, points, charges, s);
    }

    // Lowers the pivot to the s of a nearer charge. Leaves the point if its distance from that charge has lost its digits.
    void lower_pivot(int64_t i, double s) {
        if (!(s < pivot_[i]) || s == FLT_MAX) return;
        const double r2 = base_[i] + s;
        if (!(r2 > smallest_share * square_[i] && r2 > direct_tiny32)) return leave(i);
        sum_of(i).rescale(function_, s);
        const double limit = s + 1.0001 * function_.reach(r2, cutoff_) + slack * square_[i];
        limit_[i] = static_cast<float>(std::min<double>(limit, FLT_MAX));
    }

    // Adds one pair by its difference in double.
    void add_pair(int64_t i, const CentredCharges& charges, int j) {
        if (is_left(i)) return;
        if (++doubtful_[i] > many_doubtful + seen_ / one_in) return leave(i);
        const int64_t point = first_ + i;
        float *x = rows_.data(), *y = x + d_;
        read_row(r_.x, point, x);
        read_row(r_.y, charges.index[j], y);
        const double s = best_kernels<RowKernels>().exact_distance(x, y, d_) - square_[i];
        lower_pivot(i, s);
        if (is_left(i)) return;
        double weight = std::exp(log_weight(function_, s, pivot_[i], base_[i]));
        if (charges.q) weight *= charges.q[j];
        double* acc = acc_of(i);
        acc[0] += weight;
        for (int64_t k = 0; k < d_; ++k) acc[(k + 1) * width_] -= weight * (static_cast<double>(x[k]) - y[k]);
        acc[(d_ + 1) * width_] += weight;  // weights of pairs whose displacements are x - y, not centre - y
    }

    const CentredKernels& kernels_ = best_kernels<CentredKernels>();
    const int64_t width_ = kernels_.width;
    const Function function_;
    const Request& r_;
    double cutoff_, change_, farthest_ = 0.0;
    int64_t first_, count_, d_, lanes_, seen_ = 0;
    std::vector<float> x_;
    std::vector<double> base_, square_;
    std::vector<float> doubt_, limit_;
    std::vector<double> pivot_, acc_;
    std::vector<int64_t> self_, doubtful_;
    std::vector<float> rows_;
    std::vector<DoubtfulPair> pairs_;
};

// Sums the points [first, first + count) over all charges.
template <class Function>
bool sum_points(const Function& function, const Request& r, const Outcome& to, int64_t first, int64_t count,
                CentredChunk& chunk, int threads, const Poll& poll) {
    const int64_t together = centred_max_groups * best_kernels<CentredKernels>().width;
    const int64_t each = std::clamp<int64_t>(count / (4 * threads * together), 1, 8) * together;
    const int64_t tasks = (count + each - 1) / each, m = r.y.rows;
    const double cutoff = -cutoff_of(r);
    std::vector<std::unique_ptr<CentredTile<Function>>> tiles(tasks);
    for (int64_t j = 0; j < m; j += chunk.capacity()) {
        if (!chunk.read(j, std::min(chunk.capacity(), m - j), threads, poll)) return false;
        const bool finished = parallel_for(tasks, threads, poll, [&](int64_t task, int) {
            auto& tile = tiles[task];
            const int64_t begin = task * each;
            if (!tile)
                tile = std::make_unique<CentredTile<Function>>(function, r, cutoff, first + begin, std::min(each, count - begin));
            tile->add(chunk);
            if (j + chunk.capacity() >= m) tile->write(to);
        });
        if (!finished) return false;
    }
    return true;
}

}  // namespace

bool centred_sum(const Request& r, const Result& out, std::vector<int64_t>& left, int threads, const Poll& poll) {
    constexpr int64_t most_points = 4096, few_points = 64;
    const int64_t n = r.x.rows;
    std::vector<uint8_t> fate(n);
    CentredChunk chunk(r, n <= few_points ? 32 << 10 : 1 << 20);  // fits the first-level cache, or the second
    if (n <= few_points / 2) threads = 1;  // all points are in one task
    const bool finished = with_kernel(r.kernel, [&](const auto& function) {
        for (int64_t i = 0; i < n; i += most_points)
            if (!sum_points(function, r, {out, fate}, i, std::min(most_points, n - i), chunk, threads, poll)) return false;
        return true;
    });
    for (int64_t i = 0; i < n; ++i)
        if (fate[i]) left.push_back(i);
    return finished;
}

}  // namespace efm
