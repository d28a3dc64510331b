// Sums at large D: squared distances from a matrix product over centred data, the nearest charges of every
// chunk summed again by direct difference, and the weights times the charges by a second product.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/request.h"
#include "sum/large/large_kernel.h"

namespace efm {

enum Fate : uint8_t { fine = 0, not_a_number = 1, sum_again = 2 };

// The sums of all points so far (see LogSum), and what they have in common.
class LargeSums {
public:
    // `nearest` charges of every chunk are summed by direct difference.
    LargeSums(const Request& request, const Result& out, int nearest);

    // A charge that is not a number spoils every point.
    void spoil() { std::fill(fate.begin(), fate.end(), not_a_number); }

    // Names the log scale of one point. Points next to a charge are summed again in long double.
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

// The charges of one chunk, as the rows of a block see them.
struct ChargeChunk {
    int64_t first = 0;
    int count = 0;
    int counting = 0;            // charges that have a weight
    std::vector<float> square;   // [count], |y - centre|^2; +inf for charges that have no weight
    std::vector<float> weight;   // [count], or empty for all ones

    // Takes the charges [first, first + count); their squares are to be described then.
    void start(const Request& r, int64_t first, int count);
    void describe(const Request& r, int64_t j, double squared_length);
    const float* weights() const { return weight.empty() ? nullptr : weight.data(); }
};

// One chunk of charges beside one block of points.
struct LargeBlock {
    int64_t first_point, points;
    const ChargeChunk& chunk;
    float* s;          // [points][stride], products of centred points and charges; weights afterwards
    int64_t stride;
    const double* x2;  // [points], |x - centre|^2
};

// One row of a block.
struct LargeRow {
    LargeRow(const Request& r, const LargeBlock& b, int64_t row);

    // Takes the charge that is the row's own point out of it, where the request asks for that; its place in the chunk, or -1.
    int64_t hide_self(const Request& r, const ChargeChunk& chunk) const;

    int64_t point;
    const float* x;
    float* s;
    double x2;
    double base;  // height^2 + softening^2
};

// Scratch of one worker.
struct RowScratch {
    explicit RowScratch(int64_t d) : rows(large_max_nearest * d) {}
    int* index(int count) { return (indices.resize(count), indices.data()); }
    float* value(int count) { return (values.resize(count), values.data()); }
    std::vector<float> rows, values;
    std::vector<int> indices;
};

// So few pairs of a row that they cost less one by one than their share of a matrix product.
constexpr int large_few(int charges) { return std::max(large_max_nearest, charges / 32); }

// Charge j as floats, in place or in `buffer` [D].
const float* large_charge(const Request& r, int64_t j, float* buffer);

// One row of a block: picks and sums the nearest charges, turns s into weights, and merges all of it into the sums but
// -sum_j weight_j (y_j - centre), which belongs to `rest`.
void merge_row(const LargeBlock& b, int64_t row, LargeSums& sums, RowScratch& scratch);

// By how much r2 may exceed the pivot until the weight is under 2^cutoff.
double large_reach(const Request& r, double pivot, float cutoff);

}  // namespace efm
