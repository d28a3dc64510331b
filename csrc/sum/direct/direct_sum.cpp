#include "sum/direct/direct.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "sum/direct/charge_block.h"
#include "simd/cpu.h"
#include "sum/direct/direct_sum.h"
#include "sum/direct/far.h"

namespace efm {
namespace {

// The points of one task and their sums so far, in lanes; the tail repeats the last point.
template <class T>
class PointTile {
public:
    PointTile(const Request& r, int width, int groups)
        : r_(r), width_(width), d_(r.x.cols), row_(d_), x_(groups * d_ * width), h2_(groups * width),
          base_(groups * width), ref_(groups * width), best_(groups * width), acc_(groups * (d_ + 1) * width),
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
            (apart_ ? base_ : h2_)[i] = static_cast<T>(shared(point));
            self_[i] = r_.first_self == no_self ? -1 : point - r_.first_self;
        }
        std::fill(ref_.begin(), ref_.end(), std::numeric_limits<T>::infinity());
        std::fill(best_.begin(), best_.end(), std::numeric_limits<T>::infinity());
        std::fill(acc_.begin(), acc_.end(), 0.0);
    }

    DirectPoints view() {
        return {d_, groups_, x_.data(), h2_.data(), r_.first_self == no_self ? nullptr : self_.data(), ref_.data(),
                best_.data(), acc_.data(), apart_ ? base_.data() : nullptr};
    }

    template <class Out>
    void write(const Result& out) const {
        std::vector<double> sums(d_ + 1);
        for (int64_t i = 0; i < count_; ++i) {
            const int64_t point = points_[i];
            const double* acc = acc_.data() + (i / width_) * (d_ + 1) * width_ + i % width_;
            const double base = apart_ ? shared(point) : 0.0, best = best_[i] + base, ref = ref_[i] + base;
            double m = -std::numeric_limits<double>::infinity();
            double scale = 0.0;
            if (r_.kernel == Kernel::riesz) {
                if (best < std::numeric_limits<double>::infinity()) {
                    m = -0.5 * r_.power * std::log(best);
                    scale = std::pow(best / ref, 0.5 * r_.power);
                }
            } else if (best < std::numeric_limits<double>::infinity()) {
                const double rate = 0.5 / (r_.bandwidth * r_.bandwidth);
                m = -rate * best;
                scale = std::exp(rate * (static_cast<double>(best_[i]) - ref_[i]));
            }
            bool finite = std::isfinite(static_cast<T>(shared(point)));
            for (int64_t k = 0; k <= d_; ++k) {
                sums[k] = acc[k * width_] * scale;
                finite = finite && std::isfinite(sums[k]);
            }
            const bool underflow = r_.kernel == Kernel::riesz && best < (sizeof(T) == 4 ? direct_tiny32 : direct_tiny64);
            if (!finite || underflow) careful_point(r_, point, &m, sums.data());
            out.m[point] = m;
            out.w[point] = sums[0];
            if (r_.centre) out.along[point] = 0.0;
            Out* rest = static_cast<Out*>(out.rest) + point * d_;
            for (int64_t k = 0; k < d_; ++k) rest[k] = static_cast<Out>(sums[k + 1]);
        }
    }

private:
    // height^2 + softening^2
    double shared(int64_t point) const { return r_.height2 ? r_.height2[point] : r_.softening2; }

    const Request& r_;
    int width_;
    int64_t d_, count_ = 0;
    const int64_t* points_ = nullptr;
    int groups_ = 0;
    std::vector<T> row_, x_, h2_, base_, ref_, best_;
    std::vector<double> acc_;
    std::vector<int64_t> self_;
    bool apart_;
};

template <class T>
bool sum(const Request& r, const std::vector<int64_t>& near, const Result& out, int threads, const Poll& poll) {
    const DirectKernels& kernels = direct_kernels();
    const int width = sizeof(T) == 4 ? kernels.width32 : kernels.width64;
    const int64_t n = static_cast<int64_t>(near.size()), m = r.y.rows, d = r.x.cols;

    // a block of charges stays in the first-level cache, a task's points and sums in the second
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
        points.load(near.data() + first, std::min(groups * width, n - first));
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

namespace {

bool counts(const Request& r, int64_t point, int64_t j) {
    if (r.first_self != no_self && j == point - r.first_self) return false;
    return !(r.weight && r.weight[j] == 0.0);
}

// Charges exactly at x: true if there are any, with their weights added up. Most rows differ in their first
// feature, so this reads little more than that.
bool coincident_weight(const Request& r, int64_t point, const double* x, double* total) {
    bool found = false;
    *total = 0.0;
    with_elements(r.y, [&](auto* data) {
        for (int64_t j = 0; j < r.y.rows; ++j) {
            const auto* row = data + j * r.y.row_stride;
            int64_t k = 0;
            while (k < r.y.cols && static_cast<double>(row[k * r.y.col_stride]) == x[k]) ++k;
            if (k < r.y.cols || !counts(r, point, j)) continue;
            found = true;
            *total += r.weight ? r.weight[j] : 1.0;
        }
    });
    return found;
}

}  // namespace

void careful_point(const Request& r, int64_t point, double* m, double* sums) {
    const int64_t d = r.x.cols;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    std::vector<double> x(d), y(d);
    std::vector<long double> total(d + 1);
    read_row(r.x, point, x.data());
    const long double h2 = r.height2 ? r.height2[point] : r.softening2;

    auto square = [&](int64_t j) {
        read_row(r.y, j, y.data());
        long double r2 = h2;
        for (int64_t k = 0; k < d; ++k) {
            const long double diff = static_cast<long double>(x[k]) - y[k];
            r2 += diff * diff;
        }
        return r2;
    };

    bool bad = !std::isfinite(static_cast<double>(h2));
    for (double value : x) bad = bad || !std::isfinite(value);
    long double nearest = std::numeric_limits<long double>::infinity();
    double on_it = 0.0;
    if (!bad && h2 == 0.0L && r.kernel == Kernel::riesz && coincident_weight(r, point, x.data(), &on_it)) {
        *m = std::numeric_limits<double>::infinity();
        std::fill(sums, sums + d + 1, 0.0);
        sums[0] = on_it;
        return;
    }
    for (int64_t j = 0; j < r.y.rows && !bad; ++j) {
        if (!counts(r, point, j)) continue;
        const long double r2 = square(j);
        bad = !std::isfinite(r2);
        nearest = std::min(nearest, r2);
    }
    if (bad) {
        *m = nan;
        std::fill(sums, sums + d + 1, nan);
        return;
    }
    const long double rate = r.kernel == Kernel::riesz ? 0.5L * r.power : 0.5L / (r.bandwidth * r.bandwidth);
    for (int64_t j = 0; j < r.y.rows; ++j) {
        if (!counts(r, point, j)) continue;
        const long double r2 = square(j);
        const long double log_weight = r.kernel == Kernel::riesz ? -rate * std::log(r2 / nearest) : -rate * (r2 - nearest);
        const long double weight = std::exp(log_weight) * (r.weight ? r.weight[j] : 1.0);
        total[0] += weight;
        for (int64_t k = 0; k < d; ++k) total[k + 1] += weight * (static_cast<long double>(x[k]) - y[k]);
    }
    *m = static_cast<double>(r.kernel == Kernel::riesz ? -rate * std::log(nearest) : -rate * nearest);
    for (int64_t k = 0; k <= d; ++k) sums[k] = static_cast<double>(total[k]);
}

bool direct_sum(const Request& r, const Result& out, int threads, const Poll& poll) {
    const NearAndFar points = tell_far_points(r, threads, poll);
    if (!points.far.empty() && !far_sum(r, points, out, threads, poll)) return false;
    return r.wide ? sum<double>(r, points.near, out, threads, poll) : sum<float>(r, points.near, out, threads, poll);
}

}  // namespace efm
