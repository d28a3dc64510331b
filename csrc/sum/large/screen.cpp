#include "sum/large/screen.h"

#include <algorithm>
#include <cfloat>

#include "sum/row_kernel.h"

namespace efm {
namespace {

constexpr int64_t least_charges = 512;  // with fewer, screening cannot pay
constexpr int sampled_points = 4, sampled_charges = 32;
constexpr double sampled_share = 0.25;  // the nearest of all charges is nearer than that of a sample, so a smaller share will matter

// Whether only few of the sampled charges can have a weight at this point.
bool is_peaked(const Request& r, float cutoff, int64_t point, RowScratch& scratch) {
    const float* x = static_cast<const float*>(r.x.data) + point * r.x.row_stride;
    double r2[sampled_charges];
    for (int k = 0; k < sampled_charges; ++k) {
        const int64_t j = k * r.y.rows / sampled_charges;
        r2[k] = best_kernels<RowKernels>().distance(x, large_charge(r, j, scratch.rows.data()), r.x.cols) + r.base(point);
    }
    const double pivot = *std::min_element(r2, r2 + sampled_charges);
    const double limit = pivot + large_reach(r, pivot, cutoff) + screen_doubt(false) * pivot;
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

bool screen_row(const LargeBlock& b, int64_t number, const LargeSums& sums, double doubt, RowScratch& scratch) {
    const LargeKernels& kernels = best_kernels<LargeKernels>();
    const Request& r = sums.request;
    const float* y2 = b.chunk.square.data();
    const int charges = b.chunk.count;
    const LargeRow row(r, b, number);
    float* s = row.s;
    row.hide_self(r, b.chunk);

    const int closest = kernels.closest(s, y2, charges);
    if (closest < 0) return true;
    const auto exact = [&](int j) {
        const float* y = large_charge(r, b.chunk.first + j, scratch.rows.data());
        return best_kernels<RowKernels>().distance(row.x, y, r.x.cols);
    };
    const double pivot = std::min(sums.pivot[row.point], exact(closest) + row.base);
    const double limit = pivot + large_reach(r, pivot, sums.cutoff) - row.base - row.x2 * (1.0 - doubt);
    const int most = large_few(charges);
    int* index = scratch.index(most);
    int count = kernels.within(s, y2, static_cast<float>(1.0 - doubt), static_cast<float>(limit), charges, most, index);
    if (count > most) return false;
    if (count == 0) index[count++] = closest;  // an empty row would be taken for a chunk without finite distances

    float* kept = scratch.value(most);
    for (int k = 0; k < count; ++k) kept[k] = static_cast<float>(0.5 * (y2[index[k]] - (exact(index[k]) - row.x2)));
    std::fill(s, s + charges, -FLT_MAX);  // this product makes the distance infinite
    for (int k = 0; k < count; ++k) s[index[k]] = kept[k];
    return true;
}

}  // namespace efm
