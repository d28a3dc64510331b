#include "sum/row_kernel.h"

#include "simd/vectors.h"

namespace {

using V = F32::V;
constexpr int W = F32::W;

double distance(const float* x, const float* y, int64_t d) {
    // sums of squares go to double after every 8, so that float's rounding stays small
    double total[W] = {};
    int64_t k = 0;
    while (k + W <= d) {
        V part = F32::set(0.0f);
        for (int run = 0; run < 8 && k + W <= d; ++run, k += W) {
            const V diff = F32::sub(F32::load(x + k), F32::load(y + k));
            part = F32::fma(diff, diff, part);
        }
        F32::fold(total, part);
    }
    double sum = 0.0;
    for (; k < d; ++k) {
        const double diff = static_cast<double>(x[k] - y[k]);
        sum += diff * diff;
    }
    for (int i = 0; i < W; ++i) sum += total[i];
    return sum;
}

double exact_distance(const float* x, const float* y, int64_t d) {
    double total[W] = {};
    int64_t k = 0;
    for (; k + W <= d; k += W)
        for (int i = 0; i < W; ++i) {
            const double diff = static_cast<double>(x[k + i]) - static_cast<double>(y[k + i]);
            total[i] += diff * diff;
        }
    double sum = 0.0;
    for (; k < d; ++k) {
        const double diff = static_cast<double>(x[k]) - static_cast<double>(y[k]);
        sum += diff * diff;
    }
    for (int i = 0; i < W; ++i) sum += total[i];
    return sum;
}

double shift(float* y, const float* centre, int64_t d) {
    const double square = exact_distance(y, centre, d);
    for (int64_t k = 0; k < d; ++k) y[k] -= centre[k];
    return square;
}

}  // namespace

namespace efm {

EFM_KERNELS(RowKernels) {
    static const RowKernels kernels{distance, exact_distance, shift};
    return kernels;
}

}  // namespace efm
