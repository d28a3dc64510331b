// Records of lines, rules and steps that Python fills in: addresses, and numbers in double. `as<T>` checks a record and
// converts it to the struct of the line machines, in the element type of the lines.
#pragma once

#include <cstdint>
#include <vector>

#include "bindings/arguments.h"
#include "lines/line.h"
#include "lines/slope_element.h"

namespace efm {

struct PlatesRecord {
    Address plus = 0, minus = 0, places = 0;
    int64_t n_plus = 0, n_minus = 0, n_places = 0;
    int features = 0;
    double L = 0.0;

    template <class T>
    PlateCharges<T> as() const {
        need(plus && minus && places, "plates: expected addresses");
        need(n_plus >= 1 && n_minus >= 1 && n_places >= 1 && features >= 1, "plates: expected charges and features");
        PlateCharges<T> out;
        out.plus = to<const T>(plus);
        out.minus = to<const T>(minus);
        out.places = to<const T>(places);
        out.n_plus = n_plus;
        out.n_minus = n_minus;
        out.n_places = n_places;
        out.d = features;
        out.L = static_cast<T>(L);
        return out;
    }
};

struct RowsRecord {
    int64_t count = 0, capacity = 0;
    int every = 1;
    Address x = 0, z = 0, end = 0, end_z = 0, length = 0, status = 0, place = 0, evaluations = 0;
    Address path = 0, path_points = 0;

    template <class T>
    LineRows<T> as() const {
        need(count >= 0 && capacity >= 0 && every >= 1, "rows: expected counts, and every at least 1");
        need(count == 0 || (x && z && end && end_z && length && status && place && evaluations && path_points),
             "rows: expected addresses");
        LineRows<T> out;
        out.count = count;
        out.x = to<const T>(x);
        out.z = to<const T>(z);
        out.end = to<T>(end);
        out.end_z = to<T>(end_z);
        out.status = to<int64_t>(status);
        out.place = to<int64_t>(place);
        out.evaluations = to<int64_t>(evaluations);
        out.length = to<T>(length);
        out.path = to<T>(path);
        out.path_points = to<int64_t>(path_points);
        out.capacity = capacity;
        out.every = every;
        return out;
    }
};

struct TableauRecord {
    std::vector<std::vector<double>> rows;
    std::vector<double> weights, error;

    template <class T>
    Tableau<T> as() const {
        need(!weights.empty() && weights.size() <= line_max_stages && rows.size() == weights.size() - 1,
             "tableau: expected 1 to 7 weights and one row fewer");
        Tableau<T> t{};
        t.stages = static_cast<int>(weights.size());
        for (size_t s = 0; s < rows.size(); ++s)
            for (size_t k = 0; k < rows[s].size() && k <= s; ++k) t.a[s][k] = static_cast<T>(rows[s][k]);
        for (size_t s = 0; s < weights.size(); ++s) t.weights[s] = static_cast<T>(weights[s]);
        for (size_t s = 0; s < error.size() && s < weights.size(); ++s) t.error[s] = static_cast<T>(error[s]);
        return t;
    }
};

struct TraceRecord {
    TableauRecord tableau;
    bool embedded = false;
    double step = 0.0, tolerance = 0.0, capture = 0.0, far = 0.0;
    Address center = 0, axis = 0;
    int max_steps = 0;

    template <class T>
    TraceRule<T> as() const {
        need(center && axis, "rule: expected addresses of center and axis");
        need(max_steps >= 1, "rule: expected at least one step");
        TraceRule<T> out;
        out.tableau = tableau.as<T>();
        out.embedded = embedded;
        out.step = static_cast<T>(step);
        out.tolerance = static_cast<T>(tolerance);
        out.capture = static_cast<T>(capture);
        out.far = static_cast<T>(far);
        out.center = to<const T>(center);
        out.axis = to<const T>(axis);
        out.max_steps = max_steps;
        return out;
    }
};

struct ForwardRecord {
    TableauRecord tableau;
    int steps = 0;
    double dt = 0.0, steepest = 0.0;
    Address z = 0, dz_dt = 0, next_z = 0;

    template <class T>
    ForwardRule<T> as() const {
        need(z && dz_dt && next_z, "rule: expected addresses");
        need(steps >= 1, "rule: expected at least one step");
        ForwardRule<T> out;
        out.tableau = tableau.as<T>();
        out.steps = steps;
        out.dt = static_cast<T>(dt);
        out.steepest = static_cast<T>(steepest);
        out.z = to<const T>(z);
        out.dz_dt = to<const T>(dz_dt);
        out.next_z = to<const T>(next_z);
        return out;
    }
};

// One step of samples along a slope, in float: the slope of `direction`, or that of the plate means if `direction` is null.
struct StepRecord {
    Address out = 0, base = 0, direction = 0;
    int64_t count = 0;
    int features = 0;
    float scale = 0.0f, steepest = 0.0f;
    Address at = 0, share = 0, plus = 0, minus = 0;
    float z = 0.0f, L = 0.0f;

    bool of_direction() const { return direction != 0; }

    StepRows rows() const {
        need(count >= 0 && features >= 1, "slope_step: expected features");
        need(count == 0 || (out && base && (direction || (at && share && plus && minus))),
             "slope_step: expected addresses");
        StepRows rows;
        rows.out = to<float>(out);
        rows.base = to<const float>(base);
        rows.count = count;
        rows.d = features;
        rows.scale = scale;
        rows.steepest = steepest;
        return rows;
    }

    SlopeOfMeans means() const {
        SlopeOfMeans means;
        means.at = to<const float>(at);
        means.share = to<const float>(share);
        means.plus = to<const float>(plus);
        means.minus = to<const float>(minus);
        means.z = z;
        means.L = L;
        return means;
    }
};

}  // namespace efm
