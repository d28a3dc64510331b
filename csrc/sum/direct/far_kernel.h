// Sums over charges at far points: the hand-over between the driver in far_sum.cpp and the kernel.
#pragma once

#include <cstdint>

#include "sum/direct/direct_kernel.h"

namespace efm {

// Some points, in groups of `width` lanes of float, and what was summed for them so far.
struct FarPoints {
    int64_t d;
    int groups;
    const float* x;       // [groups][d + 1][width]: -2 (x - centre), then 1
    const double* base;   // [groups][width]: |x - centre|^2 + height^2 + softening^2
    const int64_t* self;  // charge to leave out, [groups][width], or null
    float* pivot;         // [groups][width], less the base; +inf before the first charge
    double* acc;          // [groups][1 + d][width]: sum of weights, then of weights times y - centre
};

constexpr int far_scratch = 2 * direct_max_charges;  // floats per lane

struct FarKernels {
    int width;
    // Adds charges less the centre, float [n][d + 1], each with its squared length behind it.
    void (*add)(const Request&, const FarPoints&, const DirectCharges&, float* scratch);
};
EFM_KERNELS_PER_SET(FarKernels)

}  // namespace efm
