// Points that lie, height apart, farther from the charges' centre than twice their radius: squared distances as differences from that of
// the centre, |y - c|^2 - 2 (x - c).(y - c), in which |x - c|^2 and the height never meet a rounding. Out there the fields
// of two plates nearly cancel, and what is left must not be made of the digits that direct differences lose.
#pragma once

#include <cstdint>
#include <vector>

#include "sum/direct/direct.h"
#include "core/request.h"
#include "core/threads.h"

namespace efm {

// Some points, in groups of `width` lanes of float, and what was summed for them so far.
struct FarPoints {
    int64_t d;
    int groups;
    const float* x;       // [groups][d + 1][width]: -2 (x - centre), then 1
    const double* base;   // [groups][width]: |x - centre|^2 + height^2 + softening^2
    const int64_t* self;  // charge to leave out, [groups][width], or null
    float* ref;           // [groups][width]: r2 - base at which a weight is 1; +inf before the first charge
    double* acc;          // [groups][1 + d][width]: sum of weights, then of weights times y - centre
};

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
