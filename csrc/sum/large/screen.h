// Finds the pairs at large D that can have a weight, from products rounded to bfloat16. Where distances vary much, as
// between images, they are a few in a thousand. These few are summed by direct difference, and the others left out.
#pragma once

#include "sum/large/large.h"

namespace efm {

// Bound on the error of a squared distance whose product x.y was rounded to bfloat16, as a fraction of |x|^2 + |y|^2.
// `exact_y` means that y is exact in bfloat16. Each factor is rounded by at most 2^-9 of itself; 2^-12 bounds the sums in
// float.
constexpr double screen_doubt(bool exact_y) { return 1.002 * (exact_y ? 0x1p-9 : 0x1p-8) + 0x1p-12; }

// Whether a sample of points and charges says that screening pays.
bool screen_pays(const Request& r, float cutoff);

// Screens one row of rounded products: makes the distances of the pairs that can have a weight exact, and those of the
// others infinite. Returns false if there are too many such pairs; the row then needs full products.
bool screen_row(const LargeBlock& b, int64_t row, const LargeSums& sums, double doubt, RowScratch& scratch);

}  // namespace efm
