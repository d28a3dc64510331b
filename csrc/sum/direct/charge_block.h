// Reads charges block by block for the direct kernels.
#pragma once

#include <vector>

#include "core/elements.h"
#include "sum/direct/direct_kernel.h"

namespace efm {

// The charges of one block that have a weight. They are packed, unless they already lie so in memory.
template <class T>
class ChargeBlock {
public:
    ChargeBlock(const Request& r, int64_t capacity)
        : request_(r), y_(capacity * r.y.cols), q_(capacity), index_(capacity) {}

    DirectCharges read(int64_t first, int64_t count) {
        const Matrix& y = request_.y;
        const bool ready = y.dtype == (sizeof(T) == 4 ? Dtype::f32 : Dtype::f64) && y.col_stride == 1 &&
                           y.row_stride == y.cols;
        int kept = 0;
        for (int64_t j = first; j < first + count; ++j) {
            if (request_.weight) {
                if (request_.weight[j] == 0.0) continue;
                q_[kept] = static_cast<T>(request_.weight[j]);
            }
            index_[kept++] = j;
        }
        const T* rows = static_cast<const T*>(y.data) + first * y.row_stride;
        if (!ready || kept != count) {
            for (int k = 0; k < kept; ++k) read_row(y, index_[k], y_.data() + k * y.cols);
            rows = y_.data();
        }
        return {kept, rows, request_.weight ? q_.data() : nullptr, index_.data()};
    }

private:
    const Request& request_;
    std::vector<T> y_, q_;
    std::vector<int64_t> index_;
};

}  // namespace efm
