// One element of the steps that move samples along a learned field, for host and device code. The formula is that of
// EFM's Algorithm 2, x += dz f_x / f_z, with a bound where f_z tends to zero.
#pragma once

#include "lines/line_step.h"

namespace efm {

// `count` samples of d features: out = base + scale * slope, for the slope of one of the structs below; out may be base.
struct StepRows {
    float* out;
    const float* base;
    int64_t count;
    int d;
    float scale, steepest;
};

// The slope of a field that a network returns: d features and z, [count, d + 1].
struct SlopeOfDirection {
    const float* direction;

    EFM_HD float lateral(int64_t row, int k, int d) const { return direction[row * (d + 1) + k]; }
    EFM_HD float axial(int64_t row, int d) const { return direction[row * (d + 1) + d]; }
};

// The slope of a field given by plate means: share (x~ - m+) - (1 - share) (x~ - m-) at height z between plates at 0 and L.
struct SlopeOfMeans {
    const float* at;      // [count, d]
    const float* share;   // of the plus plate, [count]
    const float* plus;    // m+, [count, d]
    const float* minus;   // m-, [count, d]
    float z, L;

    EFM_HD float lateral(int64_t row, int k, int d) const {
        const int64_t i = row * d + k;
        return share[row] * (at[i] - plus[i]) - (1.0f - share[row]) * (at[i] - minus[i]);
    }
    EFM_HD float axial(int64_t row, int) const { return share[row] * z - (1.0f - share[row]) * (z - L); }
};

}  // namespace efm
