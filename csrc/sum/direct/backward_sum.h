// Gradients of a sum over charges by direct differences.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// What reaches the sum from above, and where its gradients go: float or double as `is_double` says, null
// where not asked for, zero on entry. Points whose m is infinite pass nothing on.
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

// Each point and each charge is summed by one thread in a fixed order, so the result does not depend on the
// number of threads. Returns false if `poll` broke it off.
bool direct_backward(const Request& r, const Gradients& g, int threads, const Poll& poll);

}  // namespace efm
