// Sums at a few points. Charges are read where they lie; packing them would cost more than the sums.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// x must be float32 and y of a type exact in float32; the request must have a centre, and the result float displacements.
// Returns false if `poll` stopped it.
bool few_sum(const Request& r, const Result& out, int threads, const Poll& poll);

}  // namespace efm
