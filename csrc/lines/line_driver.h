// Follows a bundle of lines on a device by launches of bounded length. The device is a parameter, so that the tests can run
// it on the host.
#pragma once

#include "core/threads.h"
#include "lines/line_plan.h"

namespace efm {

enum class Followed { done, stopped, failed };

// A Device launches kernels in order and returns false if CUDA refused:
//   follow(machine, store, turns, begins, round): one block per line gives each line up to `turns` answers; lines start if
//     it begins, and go on otherwise;
//   sums(machine, store): a block per segment of every line computes its part of the answer;
//   advance(machine, store, round): a block per line merges the parts and gives the line its answer;
//   clear(store): marks that no round left a line;
//   left(store, round): waits, and sets `round` to the last one that left a line unfinished.
// `looks` says whether the host may wait for the device, which it can't while a CUDA graph is captured.
template <class Machine, class Device>
class LineDriver {
public:
    LineDriver(const Machine& machine, const LinePlan& plan, Device& device, const Poll& poll)
        : machine_(machine), plan_(plan), device_(device), poll_(poll) {}

    Followed run(void* memory) {
        const PlateCharges<float>& plates = machine_.plates;
        const auto segments = Segments::of(plates.n_plus, plates.n_minus, plates.n_places);
        for (int64_t first = 0; first < machine_.out.count; first += plan_.lines) {
            const int64_t lines = std::min(plan_.lines, machine_.out.count - first);
            const auto store = LineStore<float>::at(memory, first, lines, plates.d + 1, segments);
            const Followed how = plan_.split && segments.count > 1 ? by_segments(store) : by_lines(store);
            if (how != Followed::done) return how;
        }
        return Followed::done;
    }

private:
    // One launch is enough for lines that cannot need more answers, and the host does not wait for it.
    Followed by_lines(const LineStore<float>& store) {
        const int64_t most = machine_.most_turns();
        const bool alone = plan_.turns >= most && plan_.lines >= machine_.out.count;
        if (!device_.clear(store)) return Followed::failed;
        int64_t round = 1;
        for (int64_t given = 0; given < most; given += plan_.turns, ++round) {
            if (!device_.follow(machine_, store, plan_.turns, round == 1, round)) return Followed::failed;
            if (alone) break;
            const Followed how = look(store, round);
            if (how != Followed::done || !goes_on_) return how;
        }
        return Followed::done;
    }

    Followed by_segments(const LineStore<float>& store) {
        const int64_t most = machine_.most_turns();
        if (!device_.clear(store) || !device_.follow(machine_, store, 0, true, 1)) return Followed::failed;
        int64_t round = 1;
        for (int64_t given = 0; given < most;) {
            for (int64_t t = 0; t < plan_.turns && given < most; ++t, ++given)
                if (!device_.sums(machine_, store) || !device_.advance(machine_, store, ++round)) return Followed::failed;
            const Followed how = look(store, round);
            if (how != Followed::done || !goes_on_) return how;
        }
        return Followed::done;
    }

    // Sets goes_on_ to whether `round` left a line unfinished.
    Followed look(const LineStore<float>& store, int64_t round) {
        goes_on_ = true;
        if (!device_.looks) return Followed::done;
        int64_t last = 0;
        if (!device_.left(store, last)) return Followed::failed;
        goes_on_ = last == round;
        return poll_ && poll_() ? Followed::stopped : Followed::done;
    }

    const Machine& machine_;
    const LinePlan& plan_;
    Device& device_;
    const Poll& poll_;
    bool goes_on_ = true;
};

}  // namespace efm
