// Sums at a few points: charges are read where they lie and nothing is packed, which would cost more than the sums.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// x is float32 and y of a type exact in float32; the request has a centre and the result float displacements.
// Returns false if `poll` broke it off.
bool few_sum(const Request& r, const Result& out, int threads, const Poll& poll);

}  // namespace efm
