// Bundles of field lines of the exact field on a CUDA device: all steps of all lines in one launch.
#pragma once

#include <cstdint>
#include <string>

#include "lines/line.h"

namespace efm::cuda {

// Both enqueue work on `stream` of `device` and do not wait for it. They return CUDA's error message, or an empty string.
std::string trace_lines(const PlateCharges<float>&, const TraceRule<float>&, const LineRows<float>&, int device,
                        std::uintptr_t stream);
std::string forward_lines(const PlateCharges<float>&, const ForwardRule<float>&, const LineRows<float>&, int device,
                          std::uintptr_t stream);

}  // namespace efm::cuda
