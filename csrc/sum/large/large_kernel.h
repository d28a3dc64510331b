// The work on one row of a block of pairs between the two matrix products of a sum at large D.
#pragma once

#include <cstdint>

#include "core/kernel.h"
#include "simd/dispatch.h"

namespace efm {

constexpr int large_max_nearest = 8;

// The pivot of a row and the range of its weights.
struct RowPivot {
    double pivot;
    float shift;   // pivot - |x|^2 - base, so that s_j - shift = r2 - pivot
    float cutoff;  // log2 of the smallest weight that is kept
    double reach;  // weights are below the cutoff where r2 - pivot is above this
};

struct LargeKernels {
    // Turns products s_j = x.y_j into y2_j - 2 s_j = r2_j - |x|^2 - base, and writes the k smallest to value and index,
    // unordered. Returns how many were found, which is less than k if the row has fewer finite entries.
    int (*nearest)(float* s, const float* y2, int n, int k, float* value, int* index);

    // Returns the j of the smallest y2_j - 2 s_j, for products s_j; -1 if none is finite.
    int (*closest)(const float* s, const float* y2, int n);

    // Finds the j with keep y2_j - 2 s_j < limit, ascending. Returns their number, or most + 1 if there are more than most.
    int (*within)(const float* s, const float* y2, float keep, float limit, int n, int most, int* index);

    // Finds the j with s_j other than 0, ascending. Returns their number, or most + 1 if there are more than most.
    int (*filled)(const float* s, int n, int most, int* index);

    // Turns s_j = r2_j - |x|^2 - base into the weight times q_j. Returns the sum of these.
    double (*weigh)(const Kernel&, float* s, const float* q, int n, const RowPivot&);

    // v = scale v + sum_k w_k (from - y_k)
    void (*displace)(float* v, float scale, const float* from, const float* const* y, const float* w, int k,
                     int64_t d);
};
EFM_KERNELS_PER_SET(LargeKernels)

}  // namespace efm
