// Parts of the rows of 32 charges as floats, to be packed into panels.
#pragma once

#include <vector>

#include "core/elements.h"
#include "sum/large/product.h"

namespace efm {

// One worker's view of the charges. Rows of another type than float are converted into its buffer.
class ChargeRows {
public:
    ChargeRows(const Matrix& y, int64_t features)
        : y_(y), stride_(features + 16),  // a power of two would map all rows to one cache set
          ready_(y.dtype == Dtype::f32 && y.col_stride == 1), buffer_(ready_ ? 0 : panel_size * stride_) {}

    // Sets rows [32] to the `count` features from `first` on of the charges from `charge` on; null from charge `end` on.
    void read(int64_t charge, int64_t end, int64_t first, int64_t count, const float** rows) {
        for (int c = 0; c < panel_size; ++c) {
            const int64_t j = charge + c;
            rows[c] = nullptr;
            if (j >= end) continue;
            if (ready_) {
                rows[c] = static_cast<const float*>(y_.data) + j * y_.row_stride + first;
            } else {
                read_part(y_, j, first, count, buffer_.data() + c * stride_);
                rows[c] = buffer_.data() + c * stride_;
            }
        }
    }

private:
    const Matrix& y_;
    int64_t stride_;
    bool ready_;
    std::vector<float> buffer_;
};

inline void advance(const float** rows, int64_t features) {
    for (int c = 0; c < panel_size; ++c)
        if (rows[c]) rows[c] += features;
}

}  // namespace efm
