// Distances and differences of two rows of floats.
#pragma once

#include <cstdint>

#include "simd/dispatch.h"

namespace efm {

struct RowKernels {
    // |x - y|^2 with differences and sums of up to 8 squares in float, and their sum in double
    double (*distance)(const float* x, const float* y, int64_t d);

    // |x - y|^2 in double throughout, for log scales: the field of two plates is a difference of such scales
    double (*exact_distance)(const float* x, const float* y, int64_t d);

    // y -= centre in place. Returns |y - centre|^2, from differences in double.
    double (*shift)(float* y, const float* centre, int64_t d);
};
EFM_KERNELS_PER_SET(RowKernels)

}  // namespace efm
