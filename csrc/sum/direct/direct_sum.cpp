#include "sum/direct/direct_sum.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/logsum.h"
#include "sum/direct/careful.h"
#include "sum/direct/centred_sum.h"
#include "sum/direct/charge_block.h"
#include "sum/direct/direct_kernel.h"

namespace efm {
namespace {

// The points of one task and their sums so far, in lanes. Lanes left over repeat the last point.
template <class T>
class PointTile {
public:
    PointTile(const Request& r, int width, int groups)
        : r_(r), width_(width), d_(r.x.cols), row_(d_), x_(groups * d_ * width), h2_(groups * width),
          base_(groups * width), pivot_(groups * width), best_(groups * width), acc_(groups * (d_ + 1) * width),
          self_(groups * width), apart_(!is_small_coulomb(r)) {}

    void load(const int64_t* points, int64_t count) {
        points_ = points;
        count_ = count;
        groups_ = static_cast<int>((count + width_ - 1) / width_);
        for (int64_t i = 0; i < groups_ * width_; ++i) {
            const int64_t point = points[std::min(i, count - 1)];
            read_row(r_.x, point, row_.data());
            T* x = x_.data() + (i / width_) * d_ * width_ + i % width_;
            for (int64_t k = 0; k < d_; ++k) x[k * width_] = row_[k];
            (apart_ ? base_ : h2_)[i] = static_cast<T>(r_.base(point));
            self_[i] = r_.first_self == no_self ? -1 : point - r_.first_self;
        }
        std::fill(pivot_.begin(), pivot_.end(), std::numeric_limits<T>::infinity());
        std::fill(best_.begin(), best_.end(), std::numeric_limits<T>::infinity());
        std::fill(acc_.begin(), acc_.end(), 0.0);
    }

    DirectPoints view() {
        return {d_, groups_, x_.data(), h2_.data(), r_.first_self == no_self ? nullptr : self_.data(), pivot_.data(),
                best_.data(), acc_.data(), apart_ ? base_.data() : nullptr};
    }

    template <class Out>
    void write(const Result& out) {
        std::vector<double> sums(d_ + 1);
        with_kernel(r_.kernel, [&](const auto& function) {
            for (int64_t i = 0; i < count_; ++i) {
                const int64_t point = points_[i];
                double m = sum_of(function, i, sums.data());
                const bool finite = std::isfinite(static_cast<T>(r_.base(point))) &&
                                    std::all_of(sums.begin(), sums.end(), [](double part) { return std::isfinite(part); });
                if (!finite || (function.singular && too_near(i))) careful_point(r_, point, &m, sums.data());
                out.m[point] = m;
                out.w[point] = sums[0];
                if (r_.centre) out.along[point] = 0.0;
                std::transform(sums.begin() + 1, sums.end(), static_cast<Out*>(out.rest) + point * d_,
                               [](double part) { return static_cast<Out>(part); });
            }
        });
    }

private:
    // The part of r2 that the pivot of the point does not include.
    double base_of(int64_t i) const { return apart_ ? r_.base(points_[i]) : 0.0; }

    bool too_near(int64_t i) const {
        return best_[i] + base_of(i) < static_cast<double>(sizeof(T) == 4 ? direct_tiny32 : direct_tiny64);
    }

    // The sums of one point about its nearest charge; returns m.
    template <class Function>
    double sum_of(const Function& function, int64_t i, double* sums) {
        double* acc = acc_.data() + (i / width_) * (d_ + 1) * width_ + i % width_;
        LogSum<T> sum{pivot_[i], acc, d_ + 1, width_, base_of(i)};
        sum.rescale(function, best_[i]);
        for (int64_t k = 0; k <= d_; ++k) sums[k] = acc[k * width_];
        return sum.log_scale(function);
    }

    const Request& r_;
    int width_;
    int64_t d_, count_ = 0;
    const int64_t* points_ = nullptr;
    int groups_ = 0;
    std::vector<T> row_, x_, h2_, base_, pivot_, best_;
    std::vector<double> acc_;
    std::vector<int64_t> self_;
    bool apart_;
};

template <class T>
bool sum(const Request& r, const std::vector<int64_t>& which, const Result& out, int threads, const Poll& poll) {
    const DirectKernels& kernels = best_kernels<DirectKernels>();
    const int width = sizeof(T) == 4 ? kernels.width32 : kernels.width64;
    const int64_t n = static_cast<int64_t>(which.size()), m = r.y.rows, d = r.x.cols;

    // a block of charges stays in the first-level cache, the points and sums of a task stay in the second
    const int64_t block = std::clamp<int64_t>(32768 / (d * static_cast<int64_t>(sizeof(T))), 32, direct_max_charges);
    const int64_t per_group = width * (d + 1) * static_cast<int64_t>(sizeof(T) + sizeof(double));
    const int64_t fit = std::max<int64_t>(1, (512 << 10) / per_group);
    const int64_t all = (n + width - 1) / width;
    const int64_t groups = std::clamp<int64_t>(all / (8 * static_cast<int64_t>(threads)), 1, std::min<int64_t>(fit, 16));
    const int64_t tasks = (all + groups - 1) / groups;

    return parallel_for(tasks, threads, poll, [&](int64_t task, int) {
        PointTile<T> points(r, width, static_cast<int>(groups));
        ChargeBlock<T> charges(r, block);
        std::vector<T> scratch(direct_max_charges * width);
        const int64_t first = task * groups * width;
        points.load(which.data() + first, std::min(groups * width, n - first));
        const DirectPoints view = points.view();
        for (int64_t j = 0; j < m; j += block) {
            const DirectCharges c = charges.read(j, std::min(block, m - j));
            (sizeof(T) == 4 ? kernels.add32 : kernels.add64)(r, view, c, scratch.data());
        }
        if (out.is_double) points.template write<double>(out);
        else points.template write<float>(out);
    });
}

}  // namespace

bool is_small_coulomb(const Request& r) { return r.x.cols <= 8 && is_coulomb(r.kernel, r.x.cols); }

bool direct_sum(const Request& r, const Result& out, int threads, const Poll& poll) {
    std::vector<int64_t> points;
    if (r.centre) {
        if (!centred_sum(r, out, points, threads, poll)) return false;
    } else {
        points.resize(r.x.rows);
        std::iota(points.begin(), points.end(), int64_t{0});
    }
    if (points.empty()) return true;
    return r.wide ? sum<double>(r, points, out, threads, poll) : sum<float>(r, points, out, threads, poll);
}

}  // namespace efm
