// Rows less a centre near the middle of the charges: products of such rows keep their digits.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// One row of `a` less the centre, to out [cols]; returns its squared length before the differences were rounded.
double centre_row(const Matrix& a, int64_t row, const float* centre, float* out);

// Rows [first, first + count) of `a`, to out [count, cols] and squares [count]. Returns false if `poll` broke it off.
struct CentredRows {
    float* out;
    double* squares;
};
bool centre_rows(const Matrix& a, int64_t first, int64_t count, const float* centre, const CentredRows& to, int threads,
                 const Poll& poll);

}  // namespace efm
