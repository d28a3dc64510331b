// Sums one point in long double. It serves points on or very near a charge, and sums that overflow in float or double.
#pragma once

#include "core/request.h"

namespace efm {

// Writes m, and w and v to sums [1 + D].
void careful_point(const Request& r, int64_t point, double* m, double* sums);

}  // namespace efm
