// Sums over charges that repeat on several plates, by direct differences.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// Points, charges and their weights are floats, or doubles if `wide`; rows are contiguous.
struct ImageRequest {
    int64_t n, m, d;
    int plates;
    double power;
    bool wide;
    const void* x;           // [N, D]
    const void* y;           // [M, D]
    const void* weight;      // [M], or null for all ones
    const double* heights;   // [N, plates]
    const double* signs;     // [plates]
};

// Sums in units of e^m: m, w, u [N] and v [N, D]; u is the sum of weights times heights.
struct ImageResult {
    double* m;
    double* w;
    double* u;
    double* v;
};

// Fills `out` for M >= 1 charges and N >= 1 points. One thread sums each point in the order of the charges, so the result
// does not depend on the number of threads. Returns false if `poll` stopped it.
bool image_sum(const ImageRequest& r, const ImageResult& out, int threads, const Poll& poll);

}  // namespace efm
