// The large sum for a caller that computes the matrix products itself, one chunk of charges after the other.
#pragma once

#include "core/threads.h"
#include "sum/large/large.h"

namespace efm {

// Call centre_points first. For every chunk, call centre_charges, multiply the centred points by the centred charges, call
// weigh, and subtract the weights times the centred charges from the result's `rest`. Call finish at the end.
// One thread sums each row. Functions that return bool return false if `poll` stopped them.
class LargeSum {
public:
    LargeSum(const Request& request, const Result& out, int nearest) : request_(request), sums_(request_, out, nearest) {}
    LargeSum(const LargeSum&) = delete;

    // Writes x - centre to out [N, D].
    bool centre_points(float* out, int threads, const Poll& poll);

    // Writes y - centre of the charges [first, first + count) to out [count, D].
    bool centre_charges(int64_t first, int count, float* out, int threads, const Poll& poll);

    // Turns the products of all points with the last centred charges, [N, count], into weights.
    bool weigh(float* products, int threads, const Poll& poll);

    // Writes the log scales, and sums doubtful points again.
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
