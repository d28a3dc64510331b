#include "sum/direct/careful.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/elements.h"
#include "core/logsum.h"

namespace efm {
namespace {

bool counts(const Request& r, int64_t point, int64_t j) {
    if (r.first_self != no_self && j == point - r.first_self) return false;
    return r.counts(j);
}

// Whether any charges lie exactly at x; `total` gets the sum of their weights. Most rows differ from x in the first
// feature, so little else is read.
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

// The sum of one point in long double.
class CarefulPoint {
public:
    CarefulPoint(const Request& r, int64_t point)
        : r_(r), point_(point), d_(r.x.cols), base_(r.base(point)), x_(d_), y_(d_) {
        read_row(r.x, point, x_.data());
    }

    template <class Function>
    void sum(const Function& function, double* m, double* sums) {
        double on_it = 0.0;
        if (finite() && base_ == 0.0L && function.singular && coincident_weight(r_, point_, x_.data(), &on_it)) {
            *m = std::numeric_limits<double>::infinity();
            std::fill(sums, sums + d_ + 1, 0.0);
            sums[0] = on_it;
            return;
        }
        const long double nearest = finite() ? nearest_square() : std::numeric_limits<long double>::quiet_NaN();
        if (std::isnan(nearest)) {
            *m = std::numeric_limits<double>::quiet_NaN();
            std::fill(sums, sums + d_ + 1, *m);
            return;
        }
        add(function, nearest, sums);
        *m = static_cast<double>(function.log_kernel(nearest));
    }

private:
    bool finite() const {
        return std::isfinite(static_cast<double>(base_)) &&
               std::all_of(x_.begin(), x_.end(), [](double value) { return std::isfinite(value); });
    }

    long double square(int64_t j) {
        read_row(r_.y, j, y_.data());
        long double r2 = base_;
        for (int64_t k = 0; k < d_; ++k) {
            const long double diff = static_cast<long double>(x_[k]) - y_[k];
            r2 += diff * diff;
        }
        return r2;
    }

    // The smallest r2: NaN if a charge is not finite, +inf if there is no charge.
    long double nearest_square() {
        long double nearest = std::numeric_limits<long double>::infinity();
        for (int64_t j = 0; j < r_.y.rows; ++j) {
            if (!counts(r_, point_, j)) continue;
            const long double r2 = square(j);
            if (!std::isfinite(r2)) return std::numeric_limits<long double>::quiet_NaN();
            nearest = std::min(nearest, r2);
        }
        return nearest;
    }

    template <class Function>
    void add(const Function& function, long double pivot, double* sums) {
        std::vector<long double> total(d_ + 1);
        for (int64_t j = 0; j < r_.y.rows; ++j) {
            if (!counts(r_, point_, j)) continue;
            const long double q = r_.weight ? r_.weight[j] : 1.0;
            const long double weight = std::exp(log_weight(function, square(j), pivot)) * q;
            total[0] += weight;
            for (int64_t k = 0; k < d_; ++k) total[k + 1] += weight * (static_cast<long double>(x_[k]) - y_[k]);
        }
        std::transform(total.begin(), total.end(), sums, [](long double part) { return static_cast<double>(part); });
    }

    const Request& r_;
    int64_t point_, d_;
    long double base_;
    std::vector<double> x_, y_;
};

}  // namespace

void careful_point(const Request& r, int64_t point, double* m, double* sums) {
    with_kernel(r.kernel, [&](const auto& function) { CarefulPoint(r, point).sum(function, m, sums); });
}

}  // namespace efm
