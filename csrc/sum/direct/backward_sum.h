// Gradients of a sum over charges by direct differences.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// Upstream gradients of a sum, and the buffers of its own gradients. The buffers are double if `is_double`, otherwise
// float; they are zero on entry, and null if not needed. Points whose m is infinite have no gradient.
struct Gradients {
    const double* m;    // [N], log scale of the sum
    const double* g_w;  // [N]
    Matrix g_v;         // [N, D]
    void* x;            // [N, D]
    void* y;            // [M, D]
    void* weight;       // [M]
    void* height2;      // [N], with respect to height^2 / 2
    bool is_double;
};

// One thread sums each point and each charge in a fixed order, so the result does not depend on the number of threads.
// Returns false if `poll` stopped it.
bool direct_backward(const Request& r, const Gradients& g, int threads, const Poll& poll);

}  // namespace efm
