// Charges less the centre, packed in blocks for the centred kernel.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/aligned.h"
#include "core/elements.h"
#include "core/threads.h"
#include "sum/direct/centred_kernel.h"

namespace efm {

// One chunk of a request's charges, packed once for many points. The size of a chunk does not change the sums.
class CentredChunk {
public:
    // Chunks have about `bytes` bytes.
    CentredChunk(const Request& r, int64_t bytes)
        : r_(r), row_(r.y.cols + 1), block_(rows_of_block(row_)), capacity_(blocks_of(bytes) * block_),
          y_(Aligned::make<float>(capacity_ * row_)), q_(r.weight ? capacity_ : 0), index_(capacity_) {}

    int64_t capacity() const { return capacity_; }
    int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }
    const CentredCharges& block(int64_t i) const { return blocks_[i]; }

    // Packs the charges [first, first + count). Returns false if `poll` stopped it.
    bool read(int64_t first, int64_t count, int threads, const Poll& poll) {
        blocks_.assign((count + block_ - 1) / block_, {});
        return parallel_for(blocks(), threads, poll, [&](int64_t i, int) {
            read_block(i, first + i * block_, std::min(block_, count - i * block_));
        });
    }

private:
    static int64_t rows_of_block(int64_t row) {
        // A block stays in the first-level cache. A block of long rows has at least 60 charges, because some work is done
        // once per block, and stays in the second-level cache.
        constexpr int64_t unit = 12, bytes = 16384;
        return std::clamp<int64_t>(bytes / (4 * row) / unit * unit, 5 * unit, centred_max_charges / unit * unit);
    }

    int64_t blocks_of(int64_t bytes) const {
        const int64_t all = (r_.y.rows + block_ - 1) / block_;
        return std::min(all, std::max<int64_t>(1, bytes / (4 * row_ * block_)));
    }

    void read_block(int64_t block, int64_t first, int64_t count) {
        const CentredKernels& kernels = best_kernels<CentredKernels>();
        const Matrix& y = r_.y;
        const bool ready = y.dtype == Dtype::f32 && y.col_stride == 1;
        std::vector<float> buffer(ready ? 0 : row_);
        double largest = 0.0;
        bool finite = true;
        int kept = 0;
        const int64_t start = block * block_;
        for (int64_t j = first; j < first + count; ++j) {
            if (!r_.counts(j)) continue;
            const float* from = static_cast<const float*>(y.data) + j * y.row_stride;
            if (!ready) {
                read_row(y, j, buffer.data());
                from = buffer.data();
            }
            const double square = kernels.pack(from, r_.centre, y.cols, y_.get() + (start + kept) * row_);
            finite &= std::isfinite(square);
            largest = std::max(largest, square);
            if (r_.weight) q_[start + kept] = static_cast<float>(r_.weight[j]);
            index_[start + kept++] = j;
        }
        blocks_[block] = {kept, y_.get() + start * row_, r_.weight ? q_.data() + start : nullptr, index_.data() + start,
                          finite ? static_cast<float>(largest) : std::numeric_limits<float>::infinity(), 0.0f, 0.0f};
    }

    const Request& r_;
    int64_t row_, block_, capacity_;
    Aligned::Array<float> y_;
    std::vector<float> q_;
    std::vector<int64_t> index_;
    std::vector<CentredCharges> blocks_;
};

}  // namespace efm
