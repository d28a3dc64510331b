// Sums over charges by products of rows less a centre: the hand-over between the driver in centred_sum.cpp and the kernel.
//
// |x - y|^2 is taken as |x - c|^2 + s with s = |y - c|^2 - 2 (x - c).(y - c). A pair is doubtful where that may cancel to
// too few digits; the driver sums such pairs by themselves.
#pragma once

#include <cstdint>

#include "core/kernel.h"
#include "simd/dispatch.h"

namespace efm {

constexpr int centred_max_charges = 256;  // of a block
constexpr int centred_max_groups = 2;     // that are served together: what is loaded serves them all
constexpr int centred_max_lanes = centred_max_groups * 16;

// Some points in one or two groups of `width` lanes, and what was summed for them so far.
struct CentredPoints {
    int64_t d;
    int groups;
    const float* x;       // [groups][d][width]: -2 (x - centre)
    const double* base;   // [groups][width]: |x - centre|^2 + height^2 + softening^2
    const float* doubt;   // [groups][width]: s below which a pair is doubtful where y is the centre
    const float* limit;   // [groups][width]: s from which on weights are nothing
    const int64_t* self;  // charge to leave out, [groups][width], or null
    double* pivot;        // [groups][width], s at which a weight is 1; +inf before the first charge
    double* acc;          // [groups][2 + d][width]: sums of weights, of weights times y - centre, and one for the driver
};

// Charges of one block that count, less the centre.
struct CentredCharges {
    int n;
    const float* y;         // [n][d + 1]: y - centre, then its squared length
    const float* q;         // [n], or null for all ones
    const int64_t* index;   // [n], ascending
    float largest;          // squared length; not finite where a charge is not
    float doubt;            // what the largest adds to the points' doubt
    float slack;            // and to their limit
};

struct DoubtfulPair {
    int lane;    // of all groups
    int charge;  // of the block
};

struct CentredKernels {
    int width;

    // y less the centre, and its squared length behind it, to out [d + 1]; returns that length in more digits.
    double (*pack)(const float* y, const float* centre, int64_t d, float* out);

    // s of all pairs to s [groups][centred_max_charges][width], FLT_MAX for those to be left out and for doubtful ones
    // that may count, which are listed. The smallest of each lane goes to nearest [groups][width]. Returns their number.
    int (*measure)(const CentredPoints&, const CentredCharges&, float* s, float* nearest, DoubtfulPair* pairs);

    // Adds the pairs of which s was measured to the points' sums, whose pivots are low enough for them.
    void (*add)(const Kernel&, const CentredPoints&, const CentredCharges&, float* s);
};
EFM_KERNELS_PER_SET(CentredKernels)

}  // namespace efm
