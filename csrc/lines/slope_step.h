// Fused updates of a sampling loop on the CPU: one pass over the samples between two calls of the network.
#pragma once

#include "core/threads.h"
#include "lines/slope_element.h"

namespace efm {

void slope_step(const UpdateRows&, const DirectUpdate&, int threads);
void slope_step(const UpdateRows&, const MeansUpdate&, int threads);

}  // namespace efm
