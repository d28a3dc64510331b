// How the lines of a bundle are divided into launches. A launch takes some tenths of a second at most, so that no watchdog
// ends it and Ctrl-C has its turn. The predictions below decide only who computes which part of a sum; no result depends
// on them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "lines/line_store.h"

namespace efm {

// The lines and charges of a call, and the multiprocessors of the device.
struct LineWork {
    int64_t lines, n_plus, n_minus;
    int features, multiprocessors;

    double pairs() const { return static_cast<double>(n_plus) + static_cast<double>(n_minus); }
    int segments() const { return Segments::of(n_plus, n_minus, n_minus).count; }
};

struct LinePlan {
    bool split;     // whether the segments of one line's sums are shared by many blocks
    int64_t lines;  // lines that are under way at the same time
    int64_t turns;  // answers that a line gets between two looks of the host, each its nearest charges or the field
};

namespace line_costs {

constexpr double issue = 128 * 1.755e9;      // thread instructions of a multiprocessor per second: that of an H200
constexpr double launch_seconds = 3e-6;      // of one kernel in a row of kernels
constexpr double advance_seconds = 4e-6;     // merging the segments and a step of the state machine
constexpr double alone = 0.5;                // a block alone on a multiprocessor issues at this share of its rate
constexpr int alongside = 8;                 // blocks that share a multiprocessor
constexpr double budget_seconds = 0.1;       // of a launch, at the rate of `issue`
constexpr int64_t most_lines = 1 << 17;      // under way at the same time
constexpr int64_t most_bytes = 256 << 20;    // of their store
constexpr int64_t most_turns = 64;           // of split lines between two looks

// Instructions per pair of the loops that find the pivot and sum, counted in machine code for capability 9.0
// (bench/gpu/line_counts.py).
inline double instructions(int d) {
    return d == 2 ? 27.5 : d == 3 ? 35.5 : d <= 4 ? 84.75 : d <= 8 ? 128.75 : 230.75;
}

}  // namespace line_costs

// Predicted seconds for one answer to each of `lines` lines, by one block per line.
inline double seconds_whole(const LineWork& work, int64_t lines) {
    using namespace line_costs;
    const double one = work.pairs() * instructions(work.features) / issue;
    return one * std::max(1.0 / alone, static_cast<double>(lines) / work.multiprocessors);
}

// The same with a block for every segment of every line, and a block per line that merges them.
inline double seconds_split(const LineWork& work, int64_t lines) {
    using namespace line_costs;
    const double one = work.pairs() * instructions(work.features) / issue;
    const double filled = one * static_cast<double>(lines) / work.multiprocessors;
    return 2 * launch_seconds + advance_seconds + std::max(filled, one / work.segments() / alone);
}

// Segments are shared where the prediction for all lines is shorter, and where one answer of a block would take too long.
inline LinePlan plan_lines(const LineWork& work) {
    using namespace line_costs;
    const double one = work.pairs() * instructions(work.features) / issue;  // seconds of a multiprocessor
    const double budget = budget_seconds * work.multiprocessors;
    const auto at_once = [](double count, int64_t least, int64_t most) {
        return std::max<int64_t>(least, static_cast<int64_t>(std::min(count, static_cast<double>(most))));
    };
    const int64_t room = most_bytes / LineStore<float>::bytes(1, work.features + 1, work.segments());
    LinePlan plan;
    plan.lines = std::min(at_once(budget / one, 1, most_lines), at_once(static_cast<double>(room), 1, most_lines));
    plan.lines = std::max<int64_t>(1, std::min(plan.lines, work.lines));
    const bool too_long = one * alongside > budget_seconds;
    plan.split = work.segments() > 1 && (too_long || seconds_split(work, plan.lines) < seconds_whole(work, plan.lines));
    const int64_t busy = plan.split ? plan.lines : std::max<int64_t>(plan.lines, int64_t{alongside} * work.multiprocessors);
    plan.turns = at_once(budget / (one * static_cast<double>(busy)), 1, plan.split ? most_turns : int64_t{1} << 40);
    return plan;
}

}  // namespace efm
