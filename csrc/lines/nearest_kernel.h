// The nearest charges of one point, one instruction set at a time. Lanes hold charges.
#pragma once

#include <cstdint>

#include "simd/dispatch.h"

namespace efm {

// Charges in blocks of `width`, features first: [blocks][d][width], the last block filled up with infinities.
template <class T>
struct ChargeLanes {
    const T* y;
    int64_t blocks;
    int d;
};

template <class T>
struct TwoNearest {
    T first, second;  // squared distances, of which the second is +inf where there is but one charge
    int64_t index;    // of the first; the lowest of those at the same distance within a lane
};

struct NearestKernels {
    int width32, width64;
    TwoNearest<float> (*find32)(const ChargeLanes<float>&, const float* x, float h2);
    TwoNearest<double> (*find64)(const ChargeLanes<double>&, const double* x, double h2);
};
EFM_KERNELS_PER_SET(NearestKernels)


}  // namespace efm
