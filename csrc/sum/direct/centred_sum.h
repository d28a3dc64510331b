// Sums by products of points and charges less a centre, which are half the work of direct differences. The kernel computes
// s = |x - y|^2 - |x - c|^2 = |y - c|^2 - 2 (x - c).(y - c). Neither |x - c|^2 nor the height is added to s in float, so s
// keeps the digits in which charges differ, also where two plates nearly cancel.
//
// The typical rounding error of s is known. A pair for which it is too large, and which may have a weight, is summed alone
// from differences in double. A point that has many such pairs, or lies on a charge, is left to direct differences.
#pragma once

#include <vector>

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// The request must have a centre. The result of a point does not depend on the other points. Appends the points that are
// left to direct differences to `left`, in ascending order. Returns false if `poll` stopped it.
bool centred_sum(const Request& r, const Result& out, std::vector<int64_t>& left, int threads, const Poll& poll);

}  // namespace efm
