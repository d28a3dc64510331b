// One sum over charges in the form that the core takes: raw pointers and strides in elements, without Python or torch.
#pragma once

#include <cstdint>

#include "core/kernel.h"

namespace efm {

enum class Dtype : int { f32, f64, f16, bf16, u8, i8, i16, i32, i64 };
constexpr int64_t no_self = INT64_MIN;

struct Matrix {
    const void* data;
    Dtype dtype;
    int64_t rows, cols;
    int64_t row_stride, col_stride;
};

struct Request {
    Matrix x;                 // points [N, D]
    Matrix y;                 // charges [M, D]
    const double* weight;     // [M], null for all ones
    const double* height2;    // h_i^2 + softening^2, [N], null for all `softening2`
    double softening2;        // used where height2 is null
    Kernel kernel;
    int64_t first_self;       // the pair (i, j) with j + first_self == i is left out; no_self leaves out none
    const float* centre;      // [D], near the middle of the charges; null if the sum is not taken about a centre
    bool wide;                // whether differences, weights and sums are in double

    // The part of r2 that all pairs of a point share: height^2 + softening^2.
    double base(int64_t point) const { return height2 ? height2[point] : softening2; }
    // Whether the weight of charge j is not 0.
    bool counts(int64_t j) const { return !(weight && weight[j] == 0.0); }
};

// The sum of displacements is v = along * (x - centre) + rest. Far from the charges the first part is large and has the
// same direction for all of them; `rest` keeps the digits in which two plates differ.
struct Result {
    double* m;                // [N]
    double* w;                // [N]
    double* along;            // [N], written if the request has a centre
    void* rest;               // [N, D] contiguous, float or double
    bool is_double;           // the type of rest
};

}  // namespace efm
