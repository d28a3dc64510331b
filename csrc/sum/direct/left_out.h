// Finds the pairs of a point and its own charge, which a sum may leave out. Kernel units include it.
#pragma once

#include "sum/direct/direct_kernel.h"

namespace {

using efm::DirectCharges;

// Writes `value` over the pairs that are left out. Returns whether there are any in this block.
template <class S>
bool leave_out(const int64_t* self, const DirectCharges& c, typename S::T* tile, typename S::T value) {
    bool found = false;
    for (int i = 0; self && i < S::W; ++i) {
        if (c.n == 0 || self[i] < c.index[0] || self[i] > c.index[c.n - 1]) continue;
        for (int j = 0; j < c.n; ++j) {
            if (c.index[j] != self[i]) continue;
            tile[j * S::W + i] = value;
            found = true;
        }
    }
    return found;
}

// Whether a pair may be left out in this block; it may report one that is not there.
template <class S>
bool any_self_in(const int64_t* self, const DirectCharges& c) {
    for (int i = 0; self && i < S::W; ++i)
        if (self[i] >= c.index[0] && self[i] <= c.index[c.n - 1]) return true;
    return false;
}

}  // namespace
