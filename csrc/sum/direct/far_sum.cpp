#include "sum/direct/far_sum.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/logsum.h"
#include "sum/centred.h"
#include "sum/direct/careful.h"
#include "sum/direct/far_kernel.h"

namespace efm {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double far_ratio = 4.0;  // of the squared distance from the centre to the charges' squared radius
constexpr double largest_base = 1e30;  // its inverse is a float
constexpr int64_t sampled_charges = 64;

// Charges of one block that count, less the centre, each with its squared length behind it.
class CentredBlock {
public:
    CentredBlock(const Request& r, int64_t capacity)
        : r_(r), y_(capacity * (r.y.cols + 1)), q_(capacity), index_(capacity) {}

    DirectCharges read(int64_t first, int64_t count) {
        const int64_t d = r_.y.cols;
        int kept = 0;
        for (int64_t j = first; j < first + count; ++j) {
            if (!r_.counts(j)) continue;
            float* row = y_.data() + kept * (d + 1);
            row[d] = static_cast<float>(centre_row(r_.y, j, r_.centre, row));
            if (r_.weight) q_[kept] = static_cast<float>(r_.weight[j]);
            index_[kept++] = j;
        }
        return {kept, y_.data(), r_.weight ? q_.data() : nullptr, index_.data()};
    }

private:
    const Request& r_;
    std::vector<float> y_, q_;
    std::vector<int64_t> index_;
};

// The far points of one task in lanes; the tail repeats the last point.
class FarTile {
public:
    FarTile(const Request& r, int width, int groups)
        : r_(r), width_(width), d_(r.x.cols), row_(d_), x_(groups * (d_ + 1) * width), base_(groups * width),
          pivot_(groups * width), acc_(groups * (d_ + 1) * width), self_(groups * width) {}

    void load(const int64_t* points, int64_t count, const std::vector<double>& base) {
        points_ = points;
        count_ = count;
        groups_ = static_cast<int>((count + width_ - 1) / width_);
        for (int64_t i = 0; i < groups_ * width_; ++i) {
            const int64_t point = points[std::min(i, count - 1)];
            centre_row(r_.x, point, r_.centre, row_.data());
            float* x = x_.data() + (i / width_) * (d_ + 1) * width_ + i % width_;
            for (int64_t k = 0; k < d_; ++k) x[k * width_] = -2.0f * row_[k];
            x[d_ * width_] = 1.0f;
            base_[i] = base[point];
            self_[i] = r_.first_self == no_self ? -1 : point - r_.first_self;
        }
        std::fill(pivot_.begin(), pivot_.end(), std::numeric_limits<float>::infinity());
        std::fill(acc_.begin(), acc_.end(), 0.0);
    }

    FarPoints view() {
        return {d_, groups_, x_.data(), base_.data(), r_.first_self == no_self ? nullptr : self_.data(), pivot_.data(),
                acc_.data()};
    }

    void write(const Result& out) {
        std::vector<double> sums(d_ + 1);
        with_kernel(r_.kernel, [&](const auto& function) {
            for (int64_t i = 0; i < count_; ++i) {
                const int64_t point = points_[i];
                double* acc = acc_.data() + (i / width_) * (d_ + 1) * width_ + i % width_;
                double m = LogSum<float>{pivot_[i], acc, d_ + 1, width_, base_[i]}.log_scale(function);
                for (int64_t k = 0; k <= d_; ++k) sums[k] = acc[k * width_];
                const bool finite = std::all_of(sums.begin(), sums.end(), [](double part) { return std::isfinite(part); });
                if (!finite) careful_point(r_, point, &m, sums.data());
                const double sign = finite ? -1.0 : 1.0;  // y - centre was summed, and x - y by careful_point
                float* rest = static_cast<float*>(out.rest) + point * d_;
                for (int64_t k = 0; k < d_; ++k) rest[k] = static_cast<float>(sign * sums[k + 1]);
                out.m[point] = m;
                out.w[point] = sums[0];
                out.along[point] = finite ? sums[0] : 0.0;
            }
        });
    }

private:
    const Request& r_;
    int width_;
    int64_t d_, count_ = 0;
    const int64_t* points_ = nullptr;
    int groups_ = 0;
    std::vector<float> row_, x_;
    std::vector<double> base_;
    std::vector<float> pivot_;
    std::vector<double> acc_;
    std::vector<int64_t> self_;
};

// The largest |y - centre|^2 of every so many charges that count; infinity or NaN where one is not finite.
double squared_radius(const Request& r, int64_t every, int threads, const Poll& poll) {
    const int64_t block = 1024 * every;
    std::vector<double> largest((r.y.rows + block - 1) / block, 0.0);
    const bool finished = parallel_for(static_cast<int64_t>(largest.size()), threads, poll, [&](int64_t task, int) {
        std::vector<float> row(r.y.cols);
        for (int64_t j = task * block; j < std::min(r.y.rows, (task + 1) * block); j += every) {
            if (!r.counts(j)) continue;
            const double square = centre_row(r.y, j, r.centre, row.data());
            if (!(square <= largest[task])) largest[task] = square;
        }
    });
    double radius2 = finished ? 0.0 : infinity;
    for (double square : largest)
        if (!(square <= radius2)) radius2 = square;
    return radius2;
}

}  // namespace

NearAndFar tell_far_points(const Request& r, int threads, const Poll& poll) {
    NearAndFar points;
    points.near.resize(r.x.rows);
    std::iota(points.near.begin(), points.near.end(), int64_t{0});
    if (!r.centre) return points;

    std::vector<double> square(r.x.rows);
    std::vector<float> row(r.x.cols);
    for (int64_t i = 0; i < r.x.rows; ++i) square[i] = centre_row(r.x, i, r.centre, row.data());
    const double farthest = *std::max_element(square.begin(), square.end());
    // most often a few charges tell that no point is far, and the others need not be looked at
    if (!(farthest > far_ratio * squared_radius(r, std::max<int64_t>(1, r.y.rows / sampled_charges), threads, poll)))
        return points;
    const double limit = far_ratio * squared_radius(r, 1, threads, poll);
    if (!(farthest > limit)) return points;

    points.near.clear();
    points.base.resize(r.x.rows);
    for (int64_t i = 0; i < r.x.rows; ++i) {
        points.base[i] = square[i] + r.base(i);
        const bool far = square[i] > limit && points.base[i] < largest_base;
        (far ? points.far : points.near).push_back(i);
    }
    return points;
}

bool far_sum(const Request& r, const NearAndFar& points, const Result& out, int threads, const Poll& poll) {
    const FarKernels& far = best_kernels<FarKernels>();
    const int64_t width = far.width, n = static_cast<int64_t>(points.far.size()), d = r.x.cols;
    // a block of charges stays in the first-level cache
    const int64_t block = std::clamp<int64_t>(32768 / ((d + 1) * 4), 32, direct_max_charges);
    const int64_t all = (n + width - 1) / width;
    const int64_t groups = std::clamp<int64_t>(all / (8 * static_cast<int64_t>(threads)), 1, 16);
    return parallel_for((all + groups - 1) / groups, threads, poll, [&](int64_t task, int) {
        FarTile tile(r, static_cast<int>(width), static_cast<int>(groups));
        CentredBlock charges(r, block);
        std::vector<float> scratch(far_scratch * width);
        const int64_t first = task * groups * width;
        tile.load(points.far.data() + first, std::min(groups * width, n - first), points.base);
        const FarPoints view = tile.view();
        for (int64_t j = 0; j < r.y.rows; j += block)
            far.add(r, view, charges.read(j, std::min(block, r.y.rows - j)), scratch.data());
        tile.write(out);
    });
}

}  // namespace efm
