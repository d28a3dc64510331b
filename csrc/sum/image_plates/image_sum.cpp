#include "sum/image_plates/image_sum.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "sum/image_plates/image_kernel.h"

namespace efm {
namespace {

// A group of points in the layout of the kernels.
template <class T>
class ImageGroup {
public:
    ImageGroup(const ImageRequest& r, int width, int64_t first)
        : r_(r), width_(width), first_(first), count_(std::min<int64_t>(width, r.n - first)), x_(r.d * width),
          nearest_(width, std::numeric_limits<T>::infinity()), inverse_(r.plates * width), weight_(r.plates * width),
          by_height_(r.plates * width), pivot_(width), sums_((2 + r.d) * width, 0.0) {
        const T* rows = static_cast<const T*>(r.x);
        for (int i = 0; i < width; ++i)
            for (int64_t k = 0; k < r.d; ++k) x_[k * width + i] = rows[point(i) * r.d + k];
    }

    ImagePoints view() {
        return {r_.d,          r_.plates,       r_.power,          x_.data(),   nearest_.data(),
                inverse_.data(), weight_.data(), by_height_.data(), sums_.data()};
    }

    // Computes the weight of the nearest charge on every plate.
    void weigh_plates() {
        for (int i = 0; i < width_; ++i) {
            const double* heights = r_.heights + point(i) * r_.plates;
            const double near = nearest_[i];
            double pivot = std::numeric_limits<double>::infinity();
            for (int k = 0; k < r_.plates; ++k) pivot = std::min(pivot, near + heights[k] * heights[k]);
            pivot_[i] = pivot;
            for (int k = 0; k < r_.plates; ++k) {
                const double whole = near + heights[k] * heights[k];
                const double weight = whole == pivot ? 1.0 : std::exp(-0.5 * r_.power * std::log(whole / pivot));
                inverse_[k * width_ + i] = static_cast<T>(1.0 / whole);
                weight_[k * width_ + i] = static_cast<T>(r_.signs[k] * weight);
                by_height_[k * width_ + i] = static_cast<T>(r_.signs[k] * weight * heights[k]);
            }
        }
    }

    void write(const ImageResult& out) {
        for (int i = 0; i < count_; ++i) {
            const int64_t at = first_ + i;
            const bool on_charge = pivot_[i] == 0.0;
            out.m[at] = -0.5 * r_.power * std::log(pivot_[i]);
            out.w[at] = on_charge ? weight_of_image(i) : sums_[i];
            out.u[at] = on_charge ? 0.0 : sums_[width_ + i];
            for (int64_t k = 0; k < r_.d; ++k) out.v[at * r_.d + k] = on_charge ? 0.0 : sums_[(2 + k) * width_ + i];
        }
    }

private:
    int64_t point(int i) const { return first_ + std::min<int64_t>(i, count_ - 1); }

    // The total weight of the charges, on all plates, on which point i lies.
    double weight_of_image(int i) const {
        const T* y = static_cast<const T*>(r_.y);
        const T* q = static_cast<const T*>(r_.weight);
        double here = 0.0, sign = 0.0;
        for (int64_t j = 0; j < r_.m; ++j) {
            bool same = true;
            for (int64_t k = 0; k < r_.d; ++k) same = same && x_[k * width_ + i] == y[j * r_.d + k];
            if (same) here += q ? static_cast<double>(q[j]) : 1.0;
        }
        for (int k = 0; k < r_.plates; ++k)
            if (r_.heights[point(i) * r_.plates + k] == 0.0) sign += r_.signs[k];
        return here * sign;
    }

    const ImageRequest& r_;
    int width_;
    int64_t first_, count_;
    std::vector<T> x_, nearest_, inverse_, weight_, by_height_;
    std::vector<double> pivot_, sums_;
};

template <class T>
bool sum(const ImageRequest& r, const ImageResult& out, int threads, const Poll& poll) {
    const ImageKernels& kernels = best_kernels<ImageKernels>();
    const bool small = sizeof(T) == 4;
    const int width = small ? kernels.width32 : kernels.width64;
    const ImageCharges charges{r.m, r.y, r.weight};
    return parallel_for((r.n + width - 1) / width, threads, poll, [&](int64_t task, int) {
        ImageGroup<T> group(r, width, task * width);
        const ImagePoints view = group.view();
        (small ? kernels.nearest32 : kernels.nearest64)(view, charges);
        group.weigh_plates();
        (small ? kernels.add32 : kernels.add64)(view, charges);
        group.write(out);
    });
}

}  // namespace

bool image_sum(const ImageRequest& r, const ImageResult& out, int threads, const Poll& poll) {
    return r.wide ? sum<double>(r, out, threads, poll) : sum<float>(r, out, threads, poll);
}

}  // namespace efm
