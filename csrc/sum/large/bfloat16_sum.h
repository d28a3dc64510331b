// The large sum with both matrix products made of bfloat16 parts, on AMX tiles or by AVX-512.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// Whether the processor multiplies bfloat16 and the system permits it.
bool bfloat16_available();

// x must be float32 with contiguous rows, and y of a type exact in float32. Bytes less a centre of whole numbers are exact
// in bfloat16, which saves work. The `nearest` nearest charges of each chunk are summed by direct difference. Returns false
// if `poll` stopped it.
bool bfloat16_sum(const Request& r, const Result& out, int nearest, int threads, const Poll& poll);

}  // namespace efm
