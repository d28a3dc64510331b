// Sums over charges in log scale, and their merge.
//
// A sum is a log scale m and numbers in units of e^m. Two sums over different charges merge: both are rescaled to the
// larger m, and added. Here a sum stores its pivot in place of m: m is the log kernel at the pivot, and the larger m
// belongs to the smaller pivot. A pivot of +inf means that nothing was summed yet.
//
// height^2 + softening^2 is part of every r2 of a point; it is called the point's base. A pivot may be stored without the
// base, because a large height would round away the small differences between the distances to charges.
#pragma once

#include "core/kernel.h"

namespace {

// The RelativeDistance of r2 + base to pivot + base.
template <class T>
inline RelativeDistance<Scalar<T>> relative_distance(T r2, T pivot, T base = T(0)) {
    const T excess = r2 - pivot, whole = pivot + base;
    return {(r2 + base) / whole, excess, excess / whole, whole};
}

// The log of the weight of r2, in double or long double.
template <class Function, class T>
inline T log_weight(const Function& function, T r2, T pivot, T base = T(0)) {
    if (r2 == pivot) return T(0);
    return function.template log_weight<Scalar<T>>(relative_distance(r2, pivot, base));
}

// The factor that turns sums about `pivot` into sums about a smaller pivot.
template <class Function>
inline double merge_factor(const Function& function, double pivot, double smaller, double base = 0.0) {
    return ::exp(log_weight(function, pivot, smaller, base));
}

// The sum of one point: `count` numbers, `stride` apart, because the points of a group stand in the lanes of vectors.
template <class T>
struct LogSum {
    T& pivot;
    double* sums;
    int64_t count, stride;
    double base;

    // Rescales the sums to a smaller pivot. Call it before a charge is added that is nearer than all before.
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
