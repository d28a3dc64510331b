// Sums over charges that repeat on several plates: the hand-over between the driver and the kernels. Lanes hold points,
// charges are broadcast; one squared distance over features serves the heights of all plates.
#pragma once

#include <cstdint>

#include "simd/dispatch.h"

namespace efm {

// One group of `width` points; T is the kernel's scalar. A charge whose squared distance exceeds the nearest one's by e has
// on plate k the weight first[k] (1 + e / whole[k])^(-power / 2).
struct ImagePoints {
    int64_t d;
    int plates;
    double power;
    const void* x;         // T [d][width]
    void* nearest;         // T [width]: smallest squared distance over features
    const void* inverse;   // T [plates][width]: 1 / whole
    const void* first;     // T [plates][width]
    const void* by_height; // T [plates][width]: first times the height
    double* sums;          // [2 + d][width]: of weights, of weights times heights, of weights times x - y
};

// T, y [n][d] and q [n] or null for all ones.
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
