// Differences of two rows of floats.
#pragma once

#include <cstdint>

#include "simd/dispatch.h"

namespace efm {

struct RowKernels {
    // |x - y|^2: differences in float, squares and sum in double
    double (*distance)(const float* x, const float* y, int64_t d);

    // |x - y|^2 in double throughout: a log scale of which two plates' difference is taken
    double (*exact_distance)(const float* x, const float* y, int64_t d);

    // y -= centre in place; returns |y - centre|^2 of the differences before they were rounded
    double (*shift)(float* y, const float* centre, int64_t d);
};
EFM_KERNELS_PER_SET(RowKernels)

}  // namespace efm
