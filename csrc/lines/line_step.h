// The arithmetic of a step, for host and device code. A line is a small state machine: it holds the point where it needs
// the field and is given the unit direction there. Its rows lie in memory of the caller.
#pragma once

#include <math.h>

#include "lines/line.h"

namespace efm {

// The nearest charges of a line where a step begins; distances are in data units.
template <class T>
struct NearestCharges {
    T plus, minus, second_minus;
    int64_t plus_index, minus_index;
};

// The arc length that changes the distance to a charge by about the factor 1 + step, or 1 / (1 + step) towards it.
// `gain` is the derivative of that distance by arc length.
template <class T>
EFM_HD inline T arc_step(T step, T distance, T gain) {
    return step * distance / (T(1) + T(0.5) * step * (T(1) - gain));
}

// The ratio of the next step to this one; the embedded error is of fifth order in the step. An error of NaN, which comes
// from a stage on a charge, shrinks the step as a large error does.
template <class T>
EFM_HD inline T next_factor(T error, T allowed) {
    const T tiny = sizeof(T) == 4 ? T(1.17549435e-38) : T(2.2250738585072014e-308);
    const T factor = T(0.9) * pow(allowed / (error > tiny ? error : tiny), T(0.2));
    if (!(error == error) || !(factor > T(0.2))) return T(0.2);
    return factor < T(5) ? factor : T(5);
}

// The scale with dx/dz = scale * f_x. It is 1 / f_z, but |dx/dz| is at most `steepest`, also where f_z is zero or
// negative; a line with such a step stays finite.
template <class T>
EFM_HD inline T slope_scale(T lateral, T axial, T steepest) {
    const T tiny = sizeof(T) == 4 ? T(1.17549435e-38) : T(2.2250738585072014e-308);
    const T floor = lateral / steepest;
    const T largest = axial > floor ? axial : floor;
    return T(1) / (largest > tiny ? largest : tiny);
}

template <class T>
EFM_HD inline bool is_finite(T a) {
    return a - a == T(0);
}

template <class T>
EFM_HD inline T length_of(const T* a, int n) {
    T total = T(0);
    for (int k = 0; k < n; ++k) total += a[k] * a[k];
    return sqrt(total);
}

// One line on its way. `rows` holds [base | point | stages ...], each of d + 1 numbers with z last.
template <class T>
struct LineState {
    T* rows;
    int n;
    int64_t index;          // which line of the bundle
    LineEnd end;
    int64_t place, evaluations, points;
    T length, ds;
    int stage, steps;
    bool has_first;         // stage 0 holds the direction at the base
    bool looked;            // the nearest charge of the base is known:
    T distance;             // how far it is,
    bool nearest_is_minus;  // on which plate,
    int64_t nearest;        // and which one

    EFM_HD T* base() const { return rows; }
    EFM_HD T* point() const { return rows + n; }
    EFM_HD T* stage_row(int s) const { return rows + (2 + s) * n; }

    // Writes base + scale * sum_s weights[s] stage[s] to `to`.
    EFM_HD void combine(const T* weights, int count, T scale, T* to) const {
        for (int k = 0; k < n; ++k) {
            T total = T(0);
            for (int s = 0; s < count; ++s)
                if (weights[s] != T(0)) total += weights[s] * stage_row(s)[k];
            to[k] = rows[k] + scale * total;
        }
    }
};

constexpr int line_rows = 2 + line_max_stages;

template <class T>
EFM_HD inline void record(LineState<T>& line, const LineRows<T>& out, bool last) {
    if (!out.path) return;
    const int64_t at = last ? (line.points + out.every - 1) / out.every : line.points / out.every;
    const bool wanted = last || line.points % out.every == 0;
    if (wanted && at < out.capacity) {
        T* row = out.path + (line.index * out.capacity + at) * line.n;
        for (int k = 0; k < line.n; ++k) row[k] = line.base()[k];
        out.path_points[line.index] = at + 1;
    }
    ++line.points;
}

template <class T>
EFM_HD inline void start(LineState<T>& line, const LineRows<T>& out, int64_t index) {
    const int d = line.n - 1;
    line.index = index;
    line.end = LineEnd::running;
    line.place = -1;
    line.evaluations = line.points = 0;
    line.length = T(0);
    line.ds = T(HUGE_VAL);
    line.stage = line.steps = 0;
    line.has_first = line.looked = false;
    bool finite = true;
    for (int k = 0; k <= d; ++k) {
        line.base()[k] = k < d ? out.x[index * d + k] : out.z[index];
        line.point()[k] = line.base()[k];
        finite = finite && is_finite(line.base()[k]);
    }
    if (!finite) line.end = LineEnd::failed;
    record(line, out, false);
}

template <class T>
EFM_HD inline void write(const LineState<T>& line, const LineRows<T>& out) {
    const int d = line.n - 1;
    const T nan = T(0) * T(HUGE_VAL);
    const bool failed = line.end == LineEnd::failed;
    for (int k = 0; k < d; ++k) out.end[line.index * d + k] = failed ? nan : line.base()[k];
    out.end_z[line.index] = line.base()[d];
    out.status[line.index] = static_cast<int64_t>(line.end);
    out.place[line.index] = line.place;
    out.evaluations[line.index] = line.evaluations;
    out.length[line.index] = line.length;
}

}  // namespace efm
