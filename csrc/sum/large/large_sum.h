// The large sum around matrix products that the caller makes, chunk by chunk of the charges.
#pragma once

#include "core/threads.h"
#include "sum/large/large.h"

namespace efm {

// In this order: centre_points, then for every chunk centre_charges, the caller's product of the two, and weigh, after
// which the caller subtracts weights times centred charges from the result's `rest`; finish at the end.
// Each row is summed by one thread. Where they return bool, false says that `poll` broke them off.
class LargeSum {
public:
    LargeSum(const Request& request, const Result& out, int nearest) : request_(request), sums_(request_, out, nearest) {}
    LargeSum(const LargeSum&) = delete;

    // x - centre to out [N, D]
    bool centre_points(float* out, int threads, const Poll& poll);

    // y - centre of the charges [first, first + count), to out [count, D]
    bool centre_charges(int64_t first, int count, float* out, int threads, const Poll& poll);

    // The products of all points with the charges centred last, [N, count], become weights.
    bool weigh(float* products, int threads, const Poll& poll);

    void finish();

    const Request& request() const { return request_; }
    // Whether points and charges are centred.
    bool ready() const { return static_cast<int64_t>(x2_.size()) == request_.x.rows && chunk_.count > 0; }

private:
    Request request_;
    LargeSums sums_;
    std::vector<double> x2_, squares_;
    ChargeChunk chunk_;
};

}  // namespace efm
