// Sums over charges by direct differences: exact up to the rounding of the weights, at any D.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// Fills `out` for M >= 1 charges and N >= 1 points. Each point is summed by one thread in the order of the
// charges, so the result does not depend on the number of threads. Returns false if `poll` broke it off.
bool direct_sum(const Request& r, const Result& out, int threads, const Poll& poll);

}  // namespace efm
