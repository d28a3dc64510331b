// The fused steps on a CUDA device: one launch between two calls of the network, which a CUDA graph can capture.
#pragma once

#include <cstdint>
#include <string>

#include "lines/slope_element.h"

namespace efm::cuda {

// Both enqueue work on `stream` of `device` and do not wait for it. They return CUDA's error message, or an empty string.
std::string slope_step(const StepRows&, const SlopeOfDirection&, int device, std::uintptr_t stream);
std::string slope_step(const StepRows&, const SlopeOfMeans&, int device, std::uintptr_t stream);

}  // namespace efm::cuda
