#pragma once

#include "core/request.h"

namespace efm {

// log2 of the smallest weight that can matter beside a weight of 1, for all charges of a request together.
double cutoff_of(const Request& r);

}  // namespace efm
