// Sums over charges by products of rows less a centre: the records between the driver in centred_sum.cpp and the kernel.
//
// |x - y|^2 is computed as |x - c|^2 + s with s = |y - c|^2 - 2 (x - c).(y - c). A pair is doubtful if this sum may cancel
// to too few digits; the driver sums doubtful pairs one by one.
#pragma once

#include <cstdint>

#include "core/kernel.h"
#include "simd/dispatch.h"

namespace efm {

constexpr int centred_max_charges = 256;  // in a block
constexpr int centred_max_groups = 2;     // groups summed together, so that a charge is loaded once for both
constexpr int centred_max_lanes = centred_max_groups * 16;

// Points in one or two groups of `width` lanes, and their sums so far.
struct CentredPoints {
    int64_t d;
    int groups;
    const float* x;       // [groups][d][width]: -2 (x - centre)
    const double* base;   // [groups][width]: |x - centre|^2 + height^2 + softening^2
    const float* doubt;   // [groups][width]: a pair is doubtful if s is below this plus the doubt of the charges
    const float* limit;   // [groups][width]: weights are 0 if s is not below this plus the slack of the charges
    const int64_t* self;  // charge to leave out, [groups][width], or null
    double* pivot;        // [groups][width], s at which a weight is 1; +inf before the first charge
    double* acc;          // [groups][2 + d][width]: sums of weights, of weights times (y - centre); the driver uses the last
};

// The charges of one block that have a weight, less the centre.
struct CentredCharges {
    int n;
    const float* y;         // [n][d + 1]: y - centre, then its squared length
    const float* q;         // [n], or null for all ones
    const int64_t* index;   // [n], ascending
    float largest;          // the largest squared length; infinite if a charge is not finite
    float doubt;            // added to the points' doubt, for the largest charge
    float slack;            // added to the points' limit, for the largest charge
};

struct DoubtfulPair {
    int lane;    // counted over all groups
    int charge;  // counted in the block
};

struct CentredKernels {
    int width;

    // Writes y - centre, then its squared length, to out [d + 1]. Returns the squared length in double.
    double (*pack)(const float* y, const float* centre, int64_t d, float* out);

    // Writes s of all pairs to s [groups][centred_max_charges][width], and the smallest s of each lane to nearest
    // [groups][width]. Lists the doubtful pairs that may have a weight in `pairs` and returns their number. Their s is
    // FLT_MAX, as is that of pairs to leave out.
    int (*measure)(const CentredPoints&, const CentredCharges&, float* s, float* nearest, DoubtfulPair* pairs);

    // Adds the measured pairs to the points' sums. The pivots must be low enough for the nearest of them.
    void (*add)(const Kernel&, const CentredPoints&, const CentredCharges&, float* s);
};
EFM_KERNELS_PER_SET(CentredKernels)

}  // namespace efm
