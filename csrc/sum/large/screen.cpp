#include "sum/large/screen.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "simd/cpu.h"
#include "core/elements.h"

namespace efm {
namespace {

constexpr int64_t least_charges = 512;  // fewer are not worth a sample
constexpr int sampled_points = 4, sampled_charges = 32;
constexpr double sampled_share = 0.25;  // the nearest of a sample is farther than that of all, so fewer will matter

// Whether few of the sampled charges can matter for this point.
bool is_peaked(const Request& r, float cutoff, int64_t point, RowScratch& scratch) {
    const float* x = static_cast<const float*>(r.x.data) + point * r.x.row_stride;
    const double h2 = r.height2 ? r.height2[point] : r.softening2;
    double r2[sampled_charges];
    for (int k = 0; k < sampled_charges; ++k) {
        const int64_t j = k * r.y.rows / sampled_charges;
        r2[k] = row_kernels().distance(x, large_charge(r, j, scratch.rows.data()), r.x.cols) + h2;
    }
    const double ref = *std::min_element(r2, r2 + sampled_charges);
    const double limit = ref + large_reach(r, ref, cutoff) + screen_doubt(false) * ref;
    return std::count_if(r2, r2 + sampled_charges, [&](double value) { return value < limit; }) <
           sampled_share * sampled_charges;
}

}  // namespace

bool screen_pays(const Request& r, float cutoff) {
    if (r.y.rows < least_charges || r.x.rows == 0) return false;
    RowScratch scratch(r.x.cols);
    int peaked = 0;
    for (int i = 0; i < sampled_points; ++i) peaked += is_peaked(r, cutoff, i * r.x.rows / sampled_points, scratch);
    return peaked > sampled_points / 2;
}

bool screen_row(const Request& r, const LargeBlock& b, int64_t row, const LargeState& state, double doubt,
                RowScratch& scratch) {
    const RowKernels& kernels = row_kernels();
    const int64_t point = b.first_point + row;
    const float* x = static_cast<const float*>(r.x.data) + point * r.x.row_stride;
    const double h2 = r.height2 ? r.height2[point] : r.softening2;
    float* s = b.s + row * b.stride;
    large_hide_self(r, b, row);

    const int closest = kernels.closest(s, b.y2, b.charges);
    if (closest < 0) return true;
    const auto exact = [&](int j) {
        return kernels.distance(x, large_charge(r, b.first_charge + j, scratch.rows.data()), r.x.cols);
    };
    const double ref = std::min(state.ref[point], exact(closest) + h2);
    const double limit = ref + large_reach(r, ref, b.cutoff) - h2 - b.x2[row] * (1.0 - doubt);
    const int most = large_few(b.charges);
    int* index = scratch.index(most);
    int count = kernels.within(s, b.y2, static_cast<float>(1.0 - doubt), static_cast<float>(limit), b.charges, most, index);
    if (count > most) return false;
    if (count == 0) index[count++] = closest;  // so that a chunk too far to matter is not taken for an empty one

    float* kept = scratch.value(most);
    for (int k = 0; k < count; ++k)
        kept[k] = static_cast<float>(0.5 * (b.y2[index[k]] - (exact(index[k]) - b.x2[row])));
    std::fill(s, s + b.charges, -FLT_MAX);  // a product that makes the distance infinite
    for (int k = 0; k < count; ++k) s[index[k]] = kept[k];
    return true;
}

}  // namespace efm
