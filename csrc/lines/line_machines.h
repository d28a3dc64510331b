// The two state machines that advance a line: from charge to charge in arc length, and from plate to plate by heights.
// `need` returns what a line waits for: its nearest charges, which the caller passes to `approach`, or the unit direction
// of the field at its point, which the caller passes to `feed`. The code compiles for host and device.
#pragma once

#include "lines/line_step.h"

namespace efm {

enum class Need : int { nothing, nearest, field };

template <class T>
struct TraceMachine {
    PlateCharges<T> plates;
    TraceRule<T> rule;
    LineRows<T> out;

    EFM_HD Need need(LineState<T>& line) const {
        while (line.end == LineEnd::running) {
            if (line.stage > 0) return Need::field;
            if (!line.looked) return Need::nearest;
            if (line.steps == rule.max_steps) line.end = LineEnd::step_limit;
            else if (!line.has_first) return Need::field;
            else begin_step(line);
        }
        return Need::nothing;
    }

    // No line asks more often than this.
    int64_t most_turns() const { return static_cast<int64_t>(rule.max_steps) * (rule.tableau.stages + 1) + 2; }

    // Ends the line if a place of the minus plate takes it. Otherwise keeps its nearest charge, whose distance limits the step.
    EFM_HD void approach(LineState<T>& line, const NearestCharges<T>& near) const {
        const T other = near.second_minus < near.plus ? near.second_minus : near.plus;
        if (near.minus <= rule.capture * other) return land(line, near);
        line.nearest_is_minus = near.minus < near.plus;
        line.nearest = line.nearest_is_minus ? near.minus_index : near.plus_index;
        line.distance = line.nearest_is_minus ? near.minus : near.plus;
        line.looked = true;
    }

    EFM_HD void feed(LineState<T>& line, const T* direction) const {
        ++line.evaluations;
        bool vanishes = true;
        T* row = line.stage_row(line.stage);
        for (int k = 0; k < line.n; ++k) {
            row[k] = direction[k];
            vanishes = vanishes && direction[k] == T(0);
        }
        if (line.stage > 0) {
            after_stage(line);
        } else {
            line.has_first = true;
            if (vanishes) line.end = LineEnd::failed;
        }
    }

private:
    EFM_HD void land(LineState<T>& line, const NearestCharges<T>& near) const {
        const int d = line.n - 1;
        line.end = line.base()[d] < plates.L ? LineEnd::front : LineEnd::behind;
        line.place = near.minus_index;
        line.length += near.minus;
        for (int k = 0; k < d; ++k) line.base()[k] = plates.places[near.minus_index * d + k];
        line.base()[d] = plates.L;
        record(line, out, true);
    }

    EFM_HD void begin_step(LineState<T>& line) const {
        ++line.steps;
        if (rule.embedded) line.ds = line.ds < line.distance ? line.ds : line.distance;
        else line.ds = arc_step(rule.step, line.distance, gain(line));
        after_stage(line);
    }

    // The derivative of the distance to the nearest charge by arc length.
    EFM_HD T gain(const LineState<T>& line) const {
        const int d = line.n - 1;
        const T* charge = (line.nearest_is_minus ? plates.places : plates.plus) + line.nearest * d;
        const T* first = line.stage_row(0);
        T total = (line.base()[d] - (line.nearest_is_minus ? plates.L : T(0))) * first[d];
        for (int k = 0; k < d; ++k) total += (line.base()[k] - charge[k]) * first[k];
        return total / line.distance;
    }

    // Computes the point of the next stage, or finishes the step.
    EFM_HD void after_stage(LineState<T>& line) const {
        const Tableau<T>& t = rule.tableau;
        if (++line.stage < t.stages) return line.combine(t.a[line.stage - 1], line.stage, line.ds, line.point());
        line.stage = 0;
        if (rule.embedded) return finish_embedded(line);
        line.combine(t.weights, t.stages, line.ds, line.point());
        line.has_first = false;
        line.length += line.ds;
        move(line);
    }

    EFM_HD void finish_embedded(LineState<T>& line) const {
        const Tableau<T>& t = rule.tableau;
        T error = T(0);
        for (int k = 0; k < line.n; ++k) {
            T part = T(0);
            for (int s = 0; s < t.stages; ++s) part += t.error[s] * line.stage_row(s)[k];
            error += part * part;
        }
        const T used = line.ds, allowed = rule.tolerance * line.distance;
        error = used * sqrt(error);
        line.ds = used * next_factor(error, allowed);
        if (!(error <= allowed)) return;  // the step is tried again from the same base, with the smaller ds
        line.length += used;
        bool vanishes = true;
        for (int k = 0; k < line.n; ++k) {  // the last stage is the next step's first
            line.stage_row(0)[k] = line.stage_row(t.stages - 1)[k];
            vanishes = vanishes && line.stage_row(0)[k] == T(0);
        }
        move(line);
        if (vanishes) line.end = LineEnd::failed;
    }

    // Moves the line to its new point. A point beyond the radius `far` moves to its mirror image, where the same field line
    // of the dipole comes back.
    EFM_HD void move(LineState<T>& line) const {
        const int d = line.n - 1;
        T outward = T(0), away = T(0);
        bool finite = true;
        for (int k = 0; k <= d; ++k) {
            const T value = line.point()[k];
            const T from = value - (k < d ? rule.center[k] : T(0.5) * plates.L);
            outward += from * rule.axis[k];
            away += from * from;
            finite = finite && is_finite(value);
            line.base()[k] = value;
        }
        if (!finite) line.end = LineEnd::failed;
        const bool mirrored = sqrt(away) > rule.far && outward > T(0);
        if (mirrored) line.has_first = false;
        for (int k = 0; k <= d; ++k) {
            if (mirrored) line.base()[k] -= T(2) * outward * rule.axis[k];
            line.point()[k] = line.base()[k];
        }
        line.looked = false;
        record(line, out, false);
    }
};

template <class T>
struct ForwardMachine {
    PlateCharges<T> plates;
    ForwardRule<T> rule;
    LineRows<T> out;

    EFM_HD Need need(LineState<T>& line) const {
        return line.end == LineEnd::running ? Need::field : Need::nothing;
    }

    int64_t most_turns() const { return static_cast<int64_t>(rule.steps) * rule.tableau.stages; }

    EFM_HD void approach(LineState<T>&, const NearestCharges<T>&) const {}

    EFM_HD void feed(LineState<T>& line, const T* direction) const {
        ++line.evaluations;
        const Tableau<T>& t = rule.tableau;
        const int d = line.n - 1;
        const int64_t at = static_cast<int64_t>(line.steps) * t.stages + line.stage;
        const T scale = rule.dz_dt[at] * slope_scale(length_of(direction, d), direction[d], rule.steepest);
        T* row = line.stage_row(line.stage);
        for (int k = 0; k < d; ++k) row[k] = scale * direction[k];
        row[d] = T(0);
        if (++line.stage < t.stages) {
            line.combine(t.a[line.stage - 1], line.stage, rule.dt, line.point());
            line.point()[d] = rule.z[at + 1];
            return;
        }
        line.stage = 0;
        line.combine(t.weights, t.stages, rule.dt, line.point());
        line.point()[d] = rule.next_z[line.steps];
        step(line);
    }

private:
    EFM_HD void step(LineState<T>& line) const {
        T hop = T(0);
        bool finite = true;
        for (int k = 0; k < line.n; ++k) {
            const T part = line.point()[k] - line.base()[k];
            hop += part * part;
            line.base()[k] = line.point()[k];
            finite = finite && is_finite(line.base()[k]);
        }
        line.length += sqrt(hop);
        ++line.steps;
        const bool last = line.steps == rule.steps;
        record(line, out, last);
        if (!finite) line.end = LineEnd::failed;
        else if (last) line.end = LineEnd::front;
    }
};

}  // namespace efm
