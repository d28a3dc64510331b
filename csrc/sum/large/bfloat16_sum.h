// The whole large sum by products of bfloat16 parts, on AMX tiles or by AVX-512.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// True where the processor multiplies bfloat16 and the system lets it.
bool bfloat16_available();

// x is float32 with contiguous rows, y of a type exact in float32. Bytes about a centre of whole numbers are exact in
// bfloat16. `nearest` of each chunk are summed by direct difference. Returns false if `poll` broke it off.
bool bfloat16_sum(const Request& r, const Result& out, int nearest, int threads, const Poll& poll);

}  // namespace efm
