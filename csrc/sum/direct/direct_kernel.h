// Sums over charges by direct differences: the records between the driver and the kernels, which are compiled once per
// instruction set. Each lane holds a point, and charges are broadcast.
#pragma once

#include <cstdint>

#include "core/request.h"
#include "simd/dispatch.h"

namespace efm {

// Points in groups of `width` lanes, and their sums so far. T is the scalar type of the kernel.
//
// height^2 + softening^2 is given either as h2, as part of r2, pivot and best, or as base, apart from them (see LogSum).
struct DirectPoints {
    int64_t d;
    int groups;
    const void* x;        // T [groups][d][width]
    const void* h2;       // T [groups][width], part of every r2
    const int64_t* self;  // charge to leave out, [groups][width], or null
    void* pivot;          // T [groups][width], +inf before the first charge
    void* best;           // T [groups][width]: smallest r2
    double* acc;          // [groups][1 + d][width]: sum of weights, then of weights times differences
    const void* base = nullptr;  // T [groups][width]: weights are those of r2 + base; null for 0
};

// Charges of non-zero weight, in one packed block.
struct DirectCharges {
    int n;
    const void* y;         // T [n][d]
    const void* q;         // T [n], or null for all ones
    const int64_t* index;  // [n], ascending
};

struct DirectKernels {
    int width32, width64;
    // Adds the charges to the points' sums; scratch holds direct_max_charges * width scalars.
    void (*add32)(const Request&, const DirectPoints&, const DirectCharges&, void* scratch);
    void (*add64)(const Request&, const DirectPoints&, const DirectCharges&, void* scratch);
};
EFM_KERNELS_PER_SET(DirectKernels)

// Whether the kernel is Coulomb's and the features are so few that everything fits into registers. Such a sum takes heights
// as h2: at powers this small the rounding of r2 does not matter.
bool is_small_coulomb(const Request& r);

constexpr int direct_max_charges = 256;
constexpr int direct_max_width = 16;
// An r2 below these has lost digits to underflow, and the driver sums the point again in long double.
constexpr float direct_tiny32 = 1e-30f;
constexpr double direct_tiny64 = 1e-280;

}  // namespace efm
