// Runs bundles of lines and sampling steps of random shapes and rules under the sanitizers.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "lines/lines.h"
#include "lines/slope_step.h"

namespace efm {

template <class T>
class FuzzLines {
public:
    explicit FuzzLines(unsigned seed) : random_(seed) {}

    // Returns whether every line was written and has ended.
    bool round() {
        static const int dimensions[] = {1, 2, 3, 5, 8, 9, 17, 33, 64};
        const int d = dimensions[pick(9)];
        const int64_t n = pick(40), every = pick(3) ? 1 + pick(4) : 0, most = 1 + pick(30);
        const std::vector<T> plus = normals(d * (1 + pick(70))), minus = normals(d * (1 + pick(70)));
        std::vector<T> x = normals(n * d), z = normals(n);
        for (int64_t i = 0; i < n; ++i) {
            if (pick(9) == 0) x[i * d] = T(NAN);
            if (pick(9) == 0) for (int k = 0; k < d; ++k) x[i * d + k] = plus[k];
            if (pick(9) == 0) z[i] = T(0);
        }
        std::vector<T> twins = minus;  // every place has two charges half of the time
        if (pick(2)) twins.insert(twins.end(), minus.begin(), minus.end());
        const auto count = [d](const std::vector<T>& charges) { return static_cast<int64_t>(charges.size()) / d; };
        const PlateCharges<T> plates{plus.data(),  twins.data(), minus.data(), count(plus), count(twins),
                                     count(minus), d,            T(0.5) + T(pick(5))};
        std::vector<T> end(n * d), end_z(n), length(n), path;
        std::vector<int64_t> status(n, -7), charge(n), evaluations(n), points(n);
        const int64_t capacity = every ? pick(static_cast<int64_t>(most) / every + 3) : 0;
        path.resize(n * capacity * (d + 1));
        const LineRows<T> rows{n, x.data(), z.data(), end.data(), end_z.data(), status.data(), charge.data(),
                               evaluations.data(), length.data(), every ? path.data() : nullptr, points.data(),
                               capacity, static_cast<int>(every ? every : 1)};
        const bool finished = pick(2) ? trace(plates, rows, most) : forward(plates, rows, most);
        for (int64_t value : status) if (value < 1 || value > 5) return false;
        return finished && update(d, n);
    }

private:
    bool trace(const PlateCharges<T>& plates, const LineRows<T>& rows, int64_t most) {
        const std::vector<T> center(plates.d, T(0)), axis = unit_axis(plates.d + 1);
        TraceRule<T> rule{};
        rule.embedded = pick(2);
        const int stages = rule.embedded ? 7 : 1 + static_cast<int>(pick(4));
        rule.tableau = any_tableau(stages, rule.embedded);
        rule.step = T(0.1) + T(pick(9)) / 10;
        rule.tolerance = T(1e-3);
        rule.capture = T(0.1);
        rule.far = T(20);
        rule.center = center.data();
        rule.axis = axis.data();
        rule.max_steps = static_cast<int>(most);
        return trace_lines(plates, rule, rows, threads(), {});
    }

    bool forward(const PlateCharges<T>& plates, const LineRows<T>& rows, int64_t most) {
        const int stages = 1 + static_cast<int>(pick(4));
        std::vector<T> z(most * stages), dz_dt(most * stages, T(1)), next_z(most);
        for (int64_t k = 0; k < most; ++k) {
            for (int s = 0; s < stages; ++s) z[k * stages + s] = plates.L * (k * stages + s) / (most * stages);
            next_z[k] = plates.L * (k + 1) / most;
        }
        const ForwardRule<T> rule{any_tableau(stages, false), static_cast<int>(most), plates.L / most, T(30), z.data(),
                                  dz_dt.data(), next_z.data()};
        return forward_lines(plates, rule, rows, threads(), {});
    }

    bool update(int d, int64_t n) {
        std::vector<float> out(n * d), base(n * d, 1.0f), direction(n * (d + 1), 0.5f), share(n, 0.25f);
        const StepRows rows{out.data(), base.data(), n, d, 0.1f, 30.0f};
        slope_step(rows, SlopeOfDirection{direction.data()}, threads());
        slope_step(rows, SlopeOfMeans{base.data(), share.data(), base.data(), base.data(), 0.3f, 1.0f}, threads());
        for (float value : out) if (!std::isfinite(value)) return false;
        return true;
    }

    // A tableau that is consistent to first order; a line needs no more to advance.
    Tableau<T> any_tableau(int stages, bool embedded) {
        Tableau<T> t{};
        t.stages = stages;
        for (int s = 1; s < stages; ++s) t.a[s - 1][s - 1] = T(1) / stages;
        for (int s = 0; s < stages; ++s) t.weights[s] = T(1) / stages;
        if (embedded) t.error[0] = T(0.01), t.error[1] = T(-0.01);
        return t;
    }

    std::vector<T> unit_axis(int n) {
        std::vector<T> axis(n, T(0));
        axis[n - 1] = T(-1);
        return axis;
    }

    std::vector<T> normals(int64_t count) {
        std::vector<T> values(count);
        for (T& value : values) value = static_cast<T>(std::normal_distribution<double>()(random_));
        return values;
    }

    int64_t pick(int64_t count) { return static_cast<int64_t>(random_() % static_cast<unsigned>(count)); }
    int threads() { return 1 + static_cast<int>(pick(4)); }

    std::mt19937 random_;
};

}  // namespace efm
