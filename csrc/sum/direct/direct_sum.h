// Sums over charges by direct differences, at any D: exact up to rounding. A request with a centre is summed by products of
// rows less the centre instead (centred_sum.h), except for the points that this leaves.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// Fills `out` for M >= 1 charges and N >= 1 points. One thread sums each point in the order of the charges, so the result
// does not depend on the number of threads. Returns false if `poll` stopped it.
bool direct_sum(const Request& r, const Result& out, int threads, const Poll& poll);

}  // namespace efm
