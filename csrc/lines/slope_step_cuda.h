// The fused updates on a CUDA device: one launch between two calls of the network, capturable in a graph.
#pragma once

#include <cstdint>
#include <string>

#include "lines/slope_element.h"

namespace efm::cuda {

// Enqueued on `stream` of `device`; an empty text, or what CUDA said. Nothing waits.
std::string slope_step(const StepRows&, const SlopeOfDirection&, int device, std::uintptr_t stream);
std::string slope_step(const StepRows&, const SlopeOfMeans&, int device, std::uintptr_t stream);

}  // namespace efm::cuda
