// The kernel functions, each written once for numbers and for vectors: S is Scalar<double>, Scalar<long double>, or F32
// or F64 of an instruction set.
//
// A sum is taken about a pivot: the squared distance at which a weight is 1. A weight is the kernel at r2 over the kernel
// at the pivot. To add a kernel function, write a struct with the members of Riesz and name it in KernelFunctions; the
// Python side has a class of the same name and parameters.
#pragma once

#include <math.h>
#include <stdint.h>

#include "simd/functions.h"
#include "simd/scalar.h"

namespace efm {

// A kernel function and its parameters as a request carries them. with_kernel turns them into one of the structs below.
struct Kernel {
    static constexpr int most_parameters = 2;
    int index;  // in KernelFunctions
    double parameters[most_parameters];
};

}  // namespace efm

namespace {

// The squared distance of a pair relative to the pivot. The caller computes each number by itself, so that none loses
// digits to another; the compiler drops those that a kernel function does not use.
template <class S>
struct RelativeDistance {
    using V = typename S::V;
    V ratio;      // r2 / pivot
    V excess;     // r2 - pivot
    V by_pivot;   // excess / pivot
    V pivot;
};

// Calls use(weight), where weight(RelativeDistance) is the exponential of log_weight. Every kernel function can use it.
template <class S, class Function, class Use>
inline void weigh_by_logarithm(const Function& function, Use&& use) {
    use([function](const RelativeDistance<S>& r2) { return Logarithm<S>::exp(function.template log_weight<S>(r2)); });
}

// r^-power; Coulomb's force where power is D + 1
struct Riesz {
    static constexpr const char* name = "riesz";
    static constexpr int parameter_count = 1;
    static constexpr bool singular = true;  // tends to infinity where r2 tends to 0
    double power;

    static Riesz of(const double* parameters) { return {parameters[0]}; }

    // log of the kernel, double or long double
    template <class T>
    T log_kernel(T r2) const {
        return T(-0.5) * T(power) * natural_log(r2);
    }

    // The inverse of log_kernel: the r2 that has this log kernel.
    double squared_distance(double log_kernel) const { return ::exp(-2.0 / power * log_kernel); }

    // log of the weight in the base of Logarithm<S>
    template <class S>
    typename S::V log_weight(const RelativeDistance<S>& r2) const {
        return S::mul(Logarithm<S>::log_1p(r2.by_pivot), S::set(typename S::T(-0.5 * power)));
    }

    // Calls use(weight) with the fastest weight(RelativeDistance) for these parameters.
    template <class S, class Use>
    void with_weight(Use&& use) const {
        if (!is_whole_power<S>(power)) return weigh_by_logarithm<S>(*this, use);
        const int p = static_cast<int>(power);
        use([p](const RelativeDistance<S>& r2) { return inverse_power_of<S>(r2.by_pivot, p); });
    }

    // d log kernel / d r2
    template <class S>
    typename S::V slope(typename S::V r2) const {
        return S::div(S::set(typename S::T(-0.5 * power)), r2);
    }

    // The smallest r2 at which an error of `doubt` in r2 changes the weight by at most the fraction `change`.
    double least_known(double doubt, double change) const { return 0.5 * power * doubt / change; }

    // The excess of r2 over the pivot at which the weight falls to 2^-bits.
    double reach(double pivot, double bits) const { return pivot * (::exp2(bits / (0.5 * power)) - 1.0); }
};

// exp(-r^2 / (2 bandwidth^2))
struct Gaussian {
    static constexpr const char* name = "gaussian";
    static constexpr int parameter_count = 1;
    static constexpr bool singular = false;
    double bandwidth;

    static Gaussian of(const double* parameters) { return {parameters[0]}; }
    double rate() const { return 0.5 / (bandwidth * bandwidth); }

    template <class T>
    T log_kernel(T r2) const {
        return T(-rate()) * r2;
    }

    double squared_distance(double log_kernel) const { return -2.0 * bandwidth * bandwidth * log_kernel; }

    template <class S>
    typename S::V log_weight(const RelativeDistance<S>& r2) const {
        return S::mul(r2.excess, S::set(typename S::T(-rate() * Logarithm<S>::of_e)));
    }

    template <class S, class Use>
    void with_weight(Use&& use) const {
        weigh_by_logarithm<S>(*this, use);
    }

    template <class S>
    typename S::V slope(typename S::V) const {
        return S::set(typename S::T(-rate()));
    }

    double least_known(double doubt, double change) const { return rate() * doubt <= change ? 0.0 : HUGE_VAL; }

    double reach(double, double bits) const { return bits * 0.6931471805599453 / rate(); }
};

template <class... Function>
struct FunctionList {};

using KernelFunctions = FunctionList<Riesz, Gaussian>;

template <class Use, class First, class... Rest>
inline auto with_function(FunctionList<First, Rest...>, int index, const double* parameters, Use&& use) {
    if constexpr (sizeof...(Rest) > 0)
        if (index > 0) return with_function(FunctionList<Rest...>(), index - 1, parameters, use);
    return use(First::of(parameters));
}

// Returns use(function), where function is the struct of the kernel function, such as Riesz.
template <class Use>
inline auto with_kernel(const efm::Kernel& kernel, Use&& use) {
    return with_function(KernelFunctions(), kernel.index, kernel.parameters, use);
}

// The kernel of Coulomb's force for charges of d features: Riesz of power d + 1.
inline efm::Kernel coulomb(int64_t d) { return {0, {static_cast<double>(d + 1)}}; }

// Whether a kernel is coulomb(d).
template <class Function>
inline bool is_coulomb(const Function&, int64_t) {
    return false;
}
inline bool is_coulomb(const Riesz& riesz, int64_t d) { return riesz.power == static_cast<double>(d + 1); }
inline bool is_coulomb(const efm::Kernel& kernel, int64_t d) {
    return with_kernel(kernel, [d](const auto& function) { return is_coulomb(function, d); });
}

}  // namespace
