// Sums at large D. A matrix product of centred points and charges gives the squared distances. The nearest charges of every
// chunk are summed by direct difference instead. A second matrix product multiplies the weights by the charges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/request.h"
#include "sum/large/large_kernel.h"

namespace efm {

enum Fate : uint8_t { fine = 0, not_a_number = 1, sum_again = 2 };

// The sums of all points so far (see LogSum).
class LargeSums {
public:
    // The `nearest` nearest charges of every chunk are summed by direct difference.
    LargeSums(const Request& request, const Result& out, int nearest);

    // Marks all points as NaN, because a charge is not finite.
    void spoil() { std::fill(fate.begin(), fate.end(), not_a_number); }

    // Writes the log scale of one point. Sums the point again in long double if it is very near a charge.
    void finish(int64_t point);

    const Request& request;
    int nearest;
    float cutoff;  // log2 of the smallest weight that can matter beside a weight of 1
    std::vector<double> pivot;   // [N], +inf before the first charge
    std::vector<uint8_t> fate;   // [N], of Fate
    double *m, *w, *along;       // [N], of Result
    float* rest;                 // [N, D], of Result

private:
    void set(int64_t point, double value);
};

// The charges of one chunk, without their rows.
struct ChargeChunk {
    int64_t first = 0;
    int count = 0;
    int counting = 0;            // charges that have a weight
    std::vector<float> square;   // [count], |y - centre|^2; +inf for charges that have no weight
    std::vector<float> weight;   // [count], or empty for all ones

    // Takes the charges [first, first + count). The caller then calls `describe` for each of them.
    void start(const Request& r, int64_t first, int count);
    // Sets |y - centre|^2 of charge j of the chunk.
    void describe(const Request& r, int64_t j, double squared_length);
    const float* weights() const { return weight.empty() ? nullptr : weight.data(); }
};

// One chunk of charges and one block of points.
struct LargeBlock {
    int64_t first_point, points;
    const ChargeChunk& chunk;
    float* s;          // [points][stride], products of centred points and charges; weights afterwards
    int64_t stride;
    const double* x2;  // [points], |x - centre|^2
};

// One row of a block: a point and its products with the chunk.
struct LargeRow {
    LargeRow(const Request& r, const LargeBlock& b, int64_t row);

    // Leaves out the point's own charge, if the request asks for that. Returns its index in the chunk, or -1.
    int64_t hide_self(const Request& r, const ChargeChunk& chunk) const;

    int64_t point;
    const float* x;
    float* s;
    double x2;
    double base;  // height^2 + softening^2
};

// Scratch memory of one worker.
struct RowScratch {
    explicit RowScratch(int64_t d) : rows(large_max_nearest * d) {}
    int* index(int count) { return (indices.resize(count), indices.data()); }
    float* value(int count) { return (values.resize(count), values.data()); }
    std::vector<float> rows, values;
    std::vector<int> indices;
};

// Up to so many pairs of a row cost less one by one than as part of a matrix product.
constexpr int large_few(int charges) { return std::max(large_max_nearest, charges / 32); }

// Charge j as floats, in place or in `buffer` [D].
const float* large_charge(const Request& r, int64_t j, float* buffer);

// Merges one row of a block into the sums: sums the nearest charges by direct difference and turns s into weights. Pairs
// whose weights are left in s still need rest -= sum_j s_j (y_j - centre), which the caller computes for the whole block.
void merge_row(const LargeBlock& b, int64_t row, LargeSums& sums, RowScratch& scratch);

// The excess of r2 over the pivot at which the weight falls to 2^cutoff.
double large_reach(const Request& r, double pivot, float cutoff);

}  // namespace efm
