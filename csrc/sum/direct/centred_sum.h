// Sums by products of points and charges less a centre: half the work of direct differences. Squared distances are taken
// as differences from that of the centre, |y - c|^2 - 2 (x - c).(y - c), in which |x - c|^2 and the height never meet a
// charge's own digits; float keeps those, also where two plates nearly cancel.
//
// What such a distance loses as a rule is known. A pair that loses too much of it, and may count, is summed by itself from
// differences in double. A point that has many such pairs, or lies on a charge, is left to direct differences.
#pragma once

#include <vector>

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// The request has a centre. What becomes of a point does not depend on the other points. Adds those that are left to
// direct differences to `left`, ascending. Returns false if `poll` broke it off.
bool centred_sum(const Request& r, const Result& out, std::vector<int64_t>& left, int threads, const Poll& poll);

}  // namespace efm
