// Which pairs at large D can matter at all, told from products rounded to bfloat16: where distances spread, as they
// do for images, a few in a thousand. Those few are then summed by direct difference and the others left out.
#pragma once

#include "sum/large/large.h"

namespace efm {

// Share of |x|^2 + |y|^2 by which a squared distance may be wrong whose product x.y is one of bfloat16; `exact_y`: y is
// exact in bfloat16. Each factor is rounded by 2^-9 of itself at most; 2^-12 is for the sums in float.
constexpr double screen_doubt(bool exact_y) { return 1.002 * (exact_y ? 0x1p-9 : 0x1p-8) + 0x1p-12; }

// Whether a sample of points and charges says that screening pays.
bool screen_pays(const Request& r, float cutoff);

// One row of rounded products: those that can matter become exact, the others infinitely far. False if they are too
// many, and the row is to be multiplied in full.
bool screen_row(const LargeBlock& b, int64_t row, const LargeSums& sums, double doubt, RowScratch& scratch);

}  // namespace efm
