// Bundles of field lines of the exact field on a CUDA device, in launches of bounded length.
#pragma once

#include <cstdint>
#include <string>

#include "core/threads.h"
#include "lines/line_plan.h"

namespace efm::cuda {

// Where lines are followed: a device, a stream, and memory on the device of store_bytes(...), aligned to 8 bytes.
struct LinePlace {
    int device;
    std::uintptr_t stream;
    void* memory;
};

// How following ended: `problem` is CUDA's error message or empty, and `stopped` says that `poll` returned true.
struct LineOutcome {
    std::string problem;
    bool stopped;
};

// Both enqueue work on the stream. They wait for it if lines may need more than one launch; between two launches they call
// `poll`, which returns true to stop. While the stream is captured for a CUDA graph, they enqueue as many launches as the
// longest possible line needs, and wait for none.
LineOutcome trace_lines(const PlateCharges<float>&, const TraceRule<float>&, const LineRows<float>&, const LinePlan&,
                        const LinePlace&, const Poll&);
LineOutcome forward_lines(const PlateCharges<float>&, const ForwardRule<float>&, const LineRows<float>&, const LinePlan&,
                          const LinePlace&, const Poll&);

}  // namespace efm::cuda
