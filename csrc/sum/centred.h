// Rows less a centre near the middle of the charges. Such rows are short, so their products lose fewer digits.
#pragma once

#include "core/request.h"
#include "core/threads.h"

namespace efm {

// Writes one row of `a` less the centre to out [cols]. Returns its squared length, from differences in double.
double centre_row(const Matrix& a, int64_t row, const float* centre, float* out);

// Where centred rows and their squared lengths go.
struct CentredRows {
    float* out;       // [count, cols]
    double* squares;  // [count]
};

// Centres the rows [first, first + count) of `a`. Returns false if `poll` stopped it.
bool centre_rows(const Matrix& a, int64_t first, int64_t count, const float* centre, const CentredRows& to, int threads,
                 const Poll& poll);

}  // namespace efm
