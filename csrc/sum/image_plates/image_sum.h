// Sums over charges that repeat on several plates, by direct differences.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// Points and charges are floats, or doubles where `wide`, row by row.
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

// m, w, u [N] and v [N, D], in units of e^m.
struct ImageResult {
    double* m;
    double* w;
    double* u;
    double* v;
};

// Fills `out` for M >= 1 charges and N >= 1 points. Each point is summed by one thread in the order of the charges, so the
// result does not depend on the number of threads. Returns false if `poll` broke it off.
bool image_sum(const ImageRequest& r, const ImageResult& out, int threads, const Poll& poll);

}  // namespace efm
