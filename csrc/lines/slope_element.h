// One element of the updates that carry samples along a learned field, for host and device alike. Formulas are
// those of EFM's Algorithm 2: x += dz f_x / f_z, held where f_z tends to zero.
#pragma once

#include "lines/line_step.h"

namespace efm {

// N samples of d features: out = base + scale * slope of the field at `at`; out may be base.
struct StepRows {
    float* out;
    const float* base;
    int64_t count;
    int d;
    float scale, steepest;
};

// The field as a network gives it: d features and z, [count, d + 1].
struct SlopeOfDirection {
    const float* direction;

    EFM_HD float lateral(int64_t row, int k, int d) const { return direction[row * (d + 1) + k]; }
    EFM_HD float axial(int64_t row, int d) const { return direction[row * (d + 1) + d]; }
};

// The field as plate means: share (x~ - m+) - (1 - share) (x~ - m-) at height z between plates L apart.
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
