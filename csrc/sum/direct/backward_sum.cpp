#include "sum/direct/backward_sum.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/elements.h"
#include "sum/direct/backward_kernel.h"
#include "sum/direct/charge_block.h"

namespace efm {
namespace {

// The points that have a gradient, packed: those whose m is finite.
template <class T>
struct LivePoints {
    std::vector<int64_t> index;
    std::vector<T> at, h2, base, pivot, inv, slope, g_w, g_v;

    LivePoints(const Request& r, const Gradients& g) {
        const int64_t n = r.x.rows, d = r.x.cols;
        for (int64_t i = 0; i < n; ++i)
            if (!std::isinf(g.m[i])) index.push_back(i);
        const int64_t live = static_cast<int64_t>(index.size());
        for (auto* values : {&at, &g_v}) values->resize(live * d);
        for (auto* values : {&h2, &base, &pivot, &inv, &slope, &g_w}) values->resize(live);
        with_kernel(r.kernel, [&](const auto& function) {
            for (int64_t k = 0; k < live; ++k) {
                read_row(r.x, index[k], at.data() + k * d);
                read_row(g.g_v, index[k], g_v.data() + k * d);
                set_pivot(function, r, g.m[index[k]], k);
                g_w[k] = static_cast<T>(g.g_w[index[k]]);
            }
        });
    }

    int64_t count() const { return static_cast<int64_t>(index.size()); }

    // Whether squared distances near the pivots keep their digits in T.
    bool in_range(const Request& r) const {
        const bool singular = with_kernel(r.kernel, [](const auto& function) { return function.singular; });
        if (!singular || sizeof(T) == 8) return true;
        return std::all_of(inv.begin(), inv.end(), [](T inverse) { return !(inverse > 1 / direct_tiny32 || inverse < 1e-30f); });
    }

private:
    template <class Function>
    void set_pivot(const Function& function, const Request& r, double m, int64_t k) {
        const bool apart = !is_small_coulomb(r);
        const double whole = function.squared_distance(m), shared = r.base(index[k]);
        (apart ? base : h2)[k] = static_cast<T>(shared);
        pivot[k] = static_cast<T>(apart ? std::max(0.0, whole - shared) : whole);
        inv[k] = static_cast<T>(1.0 / whole);
        slope[k] = static_cast<T>(2.0 * function.template slope<Scalar<double>>(whole));
    }
};

// Copies the rows [first, first + count) of `from`, [.][each], to lanes [groups][each][width]. Lanes left over repeat the
// last row.
template <class T>
void to_lanes(const T* from, int64_t first, int64_t count, int64_t each, int width, std::vector<T>& to) {
    const int64_t lanes = (count + width - 1) / width * width;
    to.resize(lanes * each);
    for (int64_t i = 0; i < lanes; ++i) {
        const T* row = from + (first + std::min(i, count - 1)) * each;
        T* out = to.data() + i / width * each * width + i % width;
        for (int64_t k = 0; k < each; ++k) out[k * width] = row[k];
    }
}

template <class T>
class Backward {
public:
    Backward(const Request& r, const Gradients& g, int threads, const Poll& poll)
        : r_(r), g_(g), threads_(threads), poll_(poll), d_(r.x.cols), points_(r, g),
          width_(sizeof(T) == 4 ? best_kernels<BackwardKernels>().width32 : best_kernels<BackwardKernels>().width64),
          block_(std::clamp<int64_t>(32768 / (d_ * static_cast<int64_t>(sizeof(T))), 16, backward_max_block)) {}

    bool in_range() const { return points_.in_range(r_); }

    bool run() {
        if (points_.count() == 0) return true;
        if ((g_.x || g_.height2) && !over_points()) return false;
        return !(g_.y || g_.weight) || over_charges();
    }

private:
    // Splits `total` rows into tasks of some groups of lanes and runs task(first, count) for each.
    template <class F>
    bool in_groups(int64_t total, F&& task) {
        const int64_t all = (total + width_ - 1) / width_;
        const int64_t fit = std::max<int64_t>(1, (512 << 10) / (width_ * (d_ + 2) * static_cast<int64_t>(sizeof(T) + 8)));
        const int64_t groups = std::clamp<int64_t>(all / (8 * static_cast<int64_t>(threads_)), 1, std::min<int64_t>(fit, 16));
        return parallel_for((all + groups - 1) / groups, threads_, poll_, [&](int64_t k, int) {
            const int64_t first = k * groups * width_;
            task(first, std::min(groups * width_, total - first));
        });
    }

    void add(const BackwardLanes& lanes, const DirectCharges& partners, const PairPoints& p, bool points_in_lanes,
             std::vector<T>& scratch) const {
        const BackwardKernels& kernels = best_kernels<BackwardKernels>();
        (sizeof(T) == 4 ? kernels.add32 : kernels.add64)(r_, lanes, partners, p, points_in_lanes, scratch.data());
    }

    int groups_of(int64_t count) const { return static_cast<int>((count + width_ - 1) / width_); }

    bool over_points() {
        return in_groups(points_.count(), [&](int64_t first, int64_t count) {
            std::vector<T> at, h2, base, pivot, inv, slope, g_w, g_v, scratch(backward_scratch);
            to_lanes(points_.at.data(), first, count, d_, width_, at);
            to_lanes(points_.g_v.data(), first, count, d_, width_, g_v);
            to_lanes(points_.h2.data(), first, count, 1, width_, h2);
            to_lanes(points_.base.data(), first, count, 1, width_, base);
            to_lanes(points_.pivot.data(), first, count, 1, width_, pivot);
            to_lanes(points_.inv.data(), first, count, 1, width_, inv);
            to_lanes(points_.slope.data(), first, count, 1, width_, slope);
            to_lanes(points_.g_w.data(), first, count, 1, width_, g_w);
            std::vector<int64_t> self;
            if (r_.first_self != no_self) {
                to_lanes(points_.index.data(), first, count, 1, width_, self);
                for (auto& i : self) i -= r_.first_self;
            }
            const int groups = groups_of(count);
            std::vector<double> acc(groups * (d_ + 2) * width_);
            const BackwardLanes lanes{d_, groups, at.data(), self.empty() ? nullptr : self.data(), acc.data()};
            const PairPoints p{h2.data(), base.data(), pivot.data(), inv.data(), slope.data(), g_w.data(), g_v.data()};
            ChargeBlock<T> charges(r_, block_);
            for (int64_t j = 0; j < r_.y.rows; j += block_)
                add(lanes, charges.read(j, std::min(block_, r_.y.rows - j)), p, true, scratch);
            for (int64_t i = 0; i < count; ++i) {
                const double* sums = acc.data() + i / width_ * (d_ + 2) * width_ + i % width_;
                const int64_t point = points_.index[first + i];
                const double total = sums[(d_ + 1) * width_];
                const T* g_v_row = points_.g_v.data() + (first + i) * d_;
                for (int64_t k = 0; g_.x && k < d_; ++k)
                    put(g_.x, point * d_ + k, sums[k * width_] + total * static_cast<double>(g_v_row[k]));
                if (g_.height2) put(g_.height2, point, sums[d_ * width_]);
            }
        });
    }

    bool over_charges() {
        const int64_t live = points_.count();
        for (T& value : points_.g_v) value = -value;
        return in_groups(r_.y.rows, [&](int64_t first, int64_t count) {
            std::vector<T> rows(count * d_), at, scratch(backward_scratch);
            for (int64_t j = 0; j < count; ++j) read_row(r_.y, first + j, rows.data() + j * d_);
            to_lanes(rows.data(), 0, count, d_, width_, at);
            const int groups = groups_of(count);
            std::vector<int64_t> self(r_.first_self == no_self ? 0 : groups * width_);
            for (int64_t j = 0; j < static_cast<int64_t>(self.size()); ++j)
                self[j] = first + std::min(j, count - 1) + r_.first_self;
            std::vector<double> acc(groups * (d_ + 2) * width_);
            const BackwardLanes lanes{d_, groups, at.data(), self.empty() ? nullptr : self.data(), acc.data()};
            for (int64_t i = 0; i < live; i += block_) {
                const DirectCharges partners{static_cast<int>(std::min(block_, live - i)), points_.at.data() + i * d_,
                                             nullptr, points_.index.data() + i};
                const PairPoints p{points_.h2.data() + i,    points_.base.data() + i, points_.pivot.data() + i,
                                   points_.inv.data() + i,   points_.slope.data() + i, points_.g_w.data() + i,
                                   points_.g_v.data() + i * d_};
                add(lanes, partners, p, false, scratch);
            }
            for (int64_t j = 0; j < count; ++j) {
                const double* sums = acc.data() + j / width_ * (d_ + 2) * width_ + j % width_;
                const double q = r_.weight ? r_.weight[first + j] : 1.0;
                for (int64_t k = 0; g_.y && q != 0.0 && k < d_; ++k) put(g_.y, (first + j) * d_ + k, q * sums[k * width_]);
                if (g_.weight) put(g_.weight, first + j, sums[d_ * width_]);
            }
        });
    }

    void put(void* to, int64_t k, double value) const {
        if (g_.is_double) static_cast<double*>(to)[k] = value;
        else static_cast<float*>(to)[k] = static_cast<float>(value);
    }

    const Request& r_;
    const Gradients& g_;
    int threads_;
    const Poll& poll_;
    int64_t d_;
    LivePoints<T> points_;
    int width_;
    int64_t block_;
};

bool all_finite(const Gradients& g, const Request& r) {
    const int64_t n = r.x.rows, m = r.y.rows, d = r.x.cols;
    auto finite = [&](const void* values, int64_t count) {
        for (int64_t k = 0; values && k < count; ++k)
            if (!std::isfinite(g.is_double ? static_cast<const double*>(values)[k] : static_cast<const float*>(values)[k]))
                return false;
        return true;
    };
    return finite(g.x, n * d) && finite(g.y, m * d) && finite(g.weight, m) && finite(g.height2, n);
}

}  // namespace

bool direct_backward(const Request& r, const Gradients& g, int threads, const Poll& poll) {
    if (!r.wide) {
        Backward<float> narrow(r, g, threads, poll);
        if (narrow.in_range()) {
            if (!narrow.run()) return false;
            if (all_finite(g, r)) return true;
        }
    }
    return Backward<double>(r, g, threads, poll).run();  // double serves lengths at the ends of float's range
}

}  // namespace efm
