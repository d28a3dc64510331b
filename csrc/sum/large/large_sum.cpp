#include "sum/large/large_sum.h"

#include <algorithm>
#include <cmath>

#include "sum/centred.h"

namespace efm {

bool LargeSum::centre_points(float* out, int threads, const Poll& poll) {
    x2_.resize(request_.x.rows);
    return centre_rows(request_.x, 0, request_.x.rows, request_.centre, {out, x2_.data()}, threads, poll);
}

bool LargeSum::centre_charges(int64_t first, int count, float* out, int threads, const Poll& poll) {
    chunk_.start(request_, first, count);
    squares_.resize(count);
    if (!centre_rows(request_.y, first, count, request_.centre, {out, squares_.data()}, threads, poll)) return false;
    for (int j = 0; j < count; ++j) chunk_.describe(request_, j, squares_[j]);
    if (!std::all_of(squares_.begin(), squares_.end(), [](double square) { return std::isfinite(square); })) sums_.spoil();
    return true;
}

bool LargeSum::weigh(float* products, int threads, const Poll& poll) {
    constexpr int64_t group = 8;
    const int64_t n = request_.x.rows;
    const LargeBlock block{0, n, chunk_, products, chunk_.count, x2_.data()};
    return parallel_for((n + group - 1) / group, threads, poll, [&](int64_t task, int) {
        RowScratch scratch(request_.x.cols);
        for (int64_t i = task * group; i < std::min(n, (task + 1) * group); ++i) merge_row(block, i, sums_, scratch);
    });
}

void LargeSum::finish() {
    for (int64_t i = 0; i < request_.x.rows; ++i) sums_.finish(i);
}

}  // namespace efm
