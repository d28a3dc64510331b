// Points that lie, height apart, farther from the charges' centre than twice their radius. Squared distances are taken as
// differences from that of the centre, |y - c|^2 - 2 (x - c).(y - c), in which |x - c|^2 and the height never meet a
// rounding. Out there the fields of two plates nearly cancel, and direct differences lose the digits that are left.
#pragma once

#include <cstdint>
#include <vector>

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// The points of a sum, told apart; every point is in one of the two, in their order.
struct NearAndFar {
    std::vector<int64_t> near, far;
    std::vector<double> base;  // [N] of FarPoints, where the request has a centre
};

// All points are near where the request has no centre.
NearAndFar tell_far_points(const Request& r, int threads, const Poll& poll);

// Sums over the far points. Each is summed by one thread in the order of the charges. Returns false if `poll` broke it
// off.
bool far_sum(const Request& r, const NearAndFar& points, const Result& out, int threads, const Poll& poll);

}  // namespace efm
