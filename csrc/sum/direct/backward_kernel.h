// Gradients of sums over charges by direct differences: the hand-over between the driver and the kernels.
//
// With diff = x_i - y_j, rho = exp(l_ij - m_i), slope = 2 dl/dr2 and upstream gradients g_w, g_v, a pair adds
//     a = g_w_i + g_v_i . diff            b = q_j rho slope a
//     to x_i:  b diff + q_j rho g_v_i     to y_j:  -(b diff + q_j rho g_v_i)
//     to height_i^2 / 2:  b               to q_j:  rho a
// Once points stand in the lanes and charges are broadcast, once the other way round; each side is summed by
// itself, in a fixed order. With the sign of diff and of g_v turned in the second case, both are one loop.
#pragma once

#include "sum/direct/direct_kernel.h"

namespace efm {

// What points bring to their pairs: in lanes [groups][width], broadcast [n]; g_v has d numbers for each.
// T is the kernel's scalar.
struct PairPoints {
    const void* h2;     // T: in every r2, or else in base (see DirectPoints)
    const void* base;
    const void* pivot;  // T: without base
    const void* inv;    // T: 1 / (pivot + base)
    const void* slope;  // T: 2 dl/dr2 at the pivot
    const void* g_w;
    const void* g_v;    // negative where the points are broadcast
};

struct BackwardLanes {
    int64_t d;
    int groups;
    const void* at;       // T [groups][d][width], points or charges
    const int64_t* self;  // partner to leave out, [groups][width], or null
    double* acc;          // [groups][d + 2][width]: d moments; with points in the lanes the sums of b and of
                          // q rho, with charges that of rho a
};

constexpr int backward_max_block = 128;   // partners of one call
constexpr int backward_scratch = 3 * backward_max_block * direct_max_width;  // scalars

struct BackwardKernels {
    int width32, width64;
    // Adds the pairs of the lanes with the broadcast partners (charges with weights, or points).
    void (*add32)(const Request&, const BackwardLanes&, const DirectCharges& partners, const PairPoints&,
                  bool points_in_lanes, void* scratch);
    void (*add64)(const Request&, const BackwardLanes&, const DirectCharges& partners, const PairPoints&,
                  bool points_in_lanes, void* scratch);
};
EFM_KERNELS_PER_SET(BackwardKernels)


}  // namespace efm
