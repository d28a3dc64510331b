#include "sum/centred.h"

#include <algorithm>

#include "core/elements.h"
#include "sum/row_kernel.h"

namespace efm {

double centre_row(const Matrix& a, int64_t row, const float* centre, float* out) {
    read_row(a, row, out);
    return best_kernels<RowKernels>().shift(out, centre, a.cols);
}

bool centre_rows(const Matrix& a, int64_t first, int64_t count, const float* centre, const CentredRows& to, int threads,
                 const Poll& poll) {
    constexpr int64_t group = 16;
    return parallel_for((count + group - 1) / group, threads, poll, [&](int64_t task, int) {
        for (int64_t i = task * group; i < std::min(count, (task + 1) * group); ++i)
            to.squares[i] = centre_row(a, first + i, centre, to.out + i * a.cols);
    });
}

}  // namespace efm
