// Fused steps of a sampling loop on the CPU: one pass over the samples between two calls of the network.
#pragma once

#include "core/threads.h"
#include "lines/slope_element.h"

namespace efm {

void slope_step(const StepRows&, const SlopeOfDirection&, int threads);
void slope_step(const StepRows&, const SlopeOfMeans&, int threads);

}  // namespace efm
