// One point in long double: for points on or next to a charge, and for overflow.
#pragma once

#include "core/request.h"

namespace efm {

// m, and sums [1 + D]: w and v.
void careful_point(const Request& r, int64_t point, double* m, double* sums);

}  // namespace efm
