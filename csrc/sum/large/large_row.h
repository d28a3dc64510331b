// What large D does to one row of a block of pairs between two matrix products, compiled per instruction set.
#pragma once

#include <cstdint>

#include "core/request.h"

namespace efm {

constexpr int rows_max_nearest = 8;

struct RowKernels {
    // s_j (products x.y) becomes y2_j - 2 s_j = r2_ij - |x|^2; the k smallest go to value and index, in no
    // order. Returns how many were found: k, or fewer where the row has fewer finite entries.
    int (*nearest)(float* s, const float* y2, int n, int k, float* value, int* index);

    // of products s_j, as above: the charge of the smallest y2_j - 2 s_j, or -1 where none is finite
    int (*closest)(const float* s, const float* y2, int n);

    // the charges with keep y2_j - 2 s_j < limit, in their order; returns their number, or most + 1 if they are more
    int (*within)(const float* s, const float* y2, float keep, float limit, int n, int most, int* index);

    // the entries that are not 0, in their order; returns their number, or most + 1 if they are more
    int (*filled)(const float* s, int n, int most, int* index);

    // s_j = r2_ij - |x|^2 becomes the weight q_j (r2_ij / ref)^(-power / 2), or the Gaussian's, with
    // excess_j = s_j - shift = r2_ij - ref. Weights under 2^cutoff, which all are beyond an excess of `reach`, become 0.
    // Returns their sum.
    double (*weigh)(const Request& r, float* s, const float* q, int n, float shift, double ref, float cutoff,
                    double reach);

    // |x - y|^2: differences in float, squares and sum in double
    double (*distance)(const float* x, const float* y, int64_t d);

    // |x - y|^2 in double throughout: a log scale of which two plates' difference is taken
    double (*exact_distance)(const float* x, const float* y, int64_t d);

    // y -= centre in place; returns |y - centre|^2 of the differences before they were rounded
    double (*shift)(float* y, const float* centre, int64_t d);

    // v = scale v + sum_k w_k (from - y_k)
    void (*displace)(float* v, float scale, const float* from, const float* const* y, const float* w, int k,
                     int64_t d);
};

const RowKernels& row_kernels_base();
const RowKernels& row_kernels_avx2();
const RowKernels& row_kernels_avx512();

}  // namespace efm
