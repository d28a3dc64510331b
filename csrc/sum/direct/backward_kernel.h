// Gradients of sums over charges by direct differences: the records between the driver and the kernels.
//
// With diff = x_i - y_j, rho = exp(l_ij - m_i), slope = 2 dl/dr2 and upstream gradients g_w, g_v, a pair adds
//     a = g_w_i + g_v_i . diff            b = q_j rho slope a
//     to x_i:  b diff + q_j rho g_v_i     to y_j:  -(b diff + q_j rho g_v_i)
//     to height_i^2 / 2:  b               to q_j:  rho a
// For the gradients of points, points stand in the lanes and charges are broadcast; for those of charges it is the other
// way round. Each side is summed in a fixed order. In the second case the signs of diff and of g_v are reversed, so that
// one loop serves both.
#pragma once

#include "sum/direct/direct_kernel.h"

namespace efm {

// The numbers of the points: [groups][width] in lanes, [n] if broadcast; g_v has d numbers for each point.
// T is the scalar type of the kernel.
struct PairPoints {
    const void* h2;     // T: height^2 + softening^2 if it is part of r2; otherwise 0, and base holds it (see DirectPoints)
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
    double* acc;          // [groups][d + 2][width]: d moments; then the sums of b and of q rho for points in the lanes,
                          // or the sum of rho a for charges
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
