// Sums over charges that repeat on several plates: the records between the driver and the kernels. Each lane holds a point,
// and charges are broadcast. One squared distance over the features is used for all plates.
#pragma once

#include <cstdint>

#include "simd/dispatch.h"

namespace efm {

// One group of `width` points; T is the scalar type of the kernel. On plate k, a charge has the weight
// first[k] (1 + e / whole[k])^(-power / 2), where e is its squared distance less that of the nearest charge, and whole[k]
// is the nearest charge's r2 on that plate.
struct ImagePoints {
    int64_t d;
    int plates;
    double power;
    const void* x;         // T [d][width]
    void* nearest;         // T [width]: smallest squared distance over features
    const void* inverse;   // T [plates][width]: 1 / whole
    const void* first;     // T [plates][width]: weight of the nearest charge, with the sign of the plate
    const void* by_height; // T [plates][width]: first times the height
    double* sums;          // [2 + d][width]: of weights, of weights times heights, of weights times x - y
};

// Charges y [n][d] and their weights q [n] of type T; q is null for all ones.
struct ImageCharges {
    int64_t n;
    const void* y;
    const void* q;
};

struct ImageKernels {
    int width32, width64;
    void (*nearest32)(const ImagePoints&, const ImageCharges&);
    void (*nearest64)(const ImagePoints&, const ImageCharges&);
    void (*add32)(const ImagePoints&, const ImageCharges&);
    void (*add64)(const ImagePoints&, const ImageCharges&);
};
EFM_KERNELS_PER_SET(ImageKernels)

}  // namespace efm
