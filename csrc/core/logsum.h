// Sums over charges in log scale, and their merge.
//
// A sum is a log scale m and numbers in units of e^m. Two sums over different charges merge: both are rescaled to the
// larger m, and added. Here a sum keeps its pivot in place of m: m is the log kernel at the pivot, and the larger m is
// that of the smaller pivot. A pivot of +inf says that nothing was summed yet.
//
// All pairs of a point may have a part of r2 in common, its base. A pivot is then kept less the base: there a large
// height would round away the differences that tell charges apart.
#pragma once

#include "core/kernel.h"

namespace {

// A pivot, or a distance less the base, as RelativeDistance wants it.
template <class T>
inline RelativeDistance<Scalar<T>> relative_distance(T r2, T pivot, T base = T(0)) {
    const T excess = r2 - pivot, whole = pivot + base;
    return {(r2 + base) / whole, excess, excess / whole, whole};
}

// log of the weight of r2, double or long double
template <class Function, class T>
inline T log_weight(const Function& function, T r2, T pivot, T base = T(0)) {
    if (r2 == pivot) return T(0);
    return function.template log_weight<Scalar<T>>(relative_distance(r2, pivot, base));
}

// What sums about `pivot` are multiplied by when they are merged into sums about a smaller one.
template <class Function>
inline double merge_factor(const Function& function, double pivot, double smaller, double base = 0.0) {
    return ::exp(log_weight(function, pivot, smaller, base));
}

// The sum of one point: `count` numbers that lie `stride` apart, as lanes of vectors have them.
template <class T>
struct LogSum {
    T& pivot;
    double* sums;
    int64_t count, stride;
    double base;

    // Makes room for charges that are nearer than all before; they can be added then.
    template <class Function>
    void rescale(const Function& function, T smaller) {
        const double factor = merge_factor(function, pivot, smaller, base);
        for (int64_t k = 0; k < count; ++k) sums[k * stride] *= factor;
        pivot = smaller;
    }

    // m
    template <class Function>
    double log_scale(const Function& function) const {
        return function.log_kernel(pivot + base);
    }
};

}  // namespace
