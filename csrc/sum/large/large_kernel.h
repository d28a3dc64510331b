// What large D does to one row of a block of pairs between two matrix products, compiled per instruction set.
#pragma once

#include <cstdint>

#include "core/kernel.h"
#include "simd/dispatch.h"

namespace efm {

constexpr int large_max_nearest = 8;

// What the weights of a row are taken about.
struct RowPivot {
    double pivot;
    float shift;   // pivot - |x|^2 - base: what s_j exceeds it by is r2 - pivot
    float cutoff;  // log2 of the smallest weight that is kept
    double reach;  // beyond this r2 - pivot all weights are under the cutoff
};

struct LargeKernels {
    // s_j (products x.y) becomes y2_j - 2 s_j = r2_ij - |x|^2; the k smallest go to value and index, in no
    // order. Returns how many were found: k, or fewer where the row has fewer finite entries.
    int (*nearest)(float* s, const float* y2, int n, int k, float* value, int* index);

    // of products s_j, as above: the charge of the smallest y2_j - 2 s_j, or -1 where none is finite
    int (*closest)(const float* s, const float* y2, int n);

    // the charges with keep y2_j - 2 s_j < limit, in their order; returns their number, or most + 1 if they are more
    int (*within)(const float* s, const float* y2, float keep, float limit, int n, int most, int* index);

    // the entries that are not 0, in their order; returns their number, or most + 1 if they are more
    int (*filled)(const float* s, int n, int most, int* index);

    // s_j = r2_ij - |x|^2 becomes the weight times q_j. Returns their sum.
    double (*weigh)(const Kernel&, float* s, const float* q, int n, const RowPivot&);

    // v = scale v + sum_k w_k (from - y_k)
    void (*displace)(float* v, float scale, const float* from, const float* const* y, const float* w, int k,
                     int64_t d);
};
EFM_KERNELS_PER_SET(LargeKernels)


}  // namespace efm
