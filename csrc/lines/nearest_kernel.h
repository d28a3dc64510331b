// The nearest charges of one point. Each lane of a vector holds a charge.
#pragma once

#include <cstdint>

#include "simd/dispatch.h"

namespace efm {

// Charges in blocks of `width`, as [blocks][d][width]; the last block is filled up with infinities.
template <class T>
struct ChargeLanes {
    const T* y;
    int64_t blocks;
    int d;
};

template <class T>
struct TwoNearest {
    T first, second;  // squared distances; the second is +inf if there is only one charge
    int64_t index;    // of the first; among equal distances within a lane, the lowest
};

struct NearestKernels {
    int width32, width64;
    TwoNearest<float> (*find32)(const ChargeLanes<float>&, const float* x, float h2);
    TwoNearest<double> (*find64)(const ChargeLanes<double>&, const double* x, double h2);
};
EFM_KERNELS_PER_SET(NearestKernels)

}  // namespace efm
