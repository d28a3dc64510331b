// Sums at large D: squared distances from a matrix product over centred data, the nearest charges of every
// chunk summed again by direct difference, and the weights times the charges by a second product.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/request.h"
#include "sum/large/large_row.h"
#include "core/threads.h"

namespace efm {

// Sums so far, one row per point; `ref` is the r2 at which a weight is 1 (+inf: no charge yet).
struct LargeState {
    double* ref;     // [N]
    double* w;       // [N]
    double* along;   // [N], of Result
    float* rest;     // [N, D], contiguous
    uint8_t* fate;   // [N], of Fate
};

enum Fate : uint8_t { fine = 0, not_a_number = 1, sum_again = 2 };

// One chunk of charges beside one block of points.
struct LargeBlock {
    int64_t first_point, points;
    int64_t first_charge;
    int charges;
    float* s;              // [points][stride], products of centred points and charges; weights afterwards
    int64_t stride;
    const float* y2;       // [charges], |y - centre|^2; +inf for charges that do not count
    const float* q;        // [charges] weights, or null for all ones
    const double* x2;      // [points], |x - centre|^2
    int counted;           // charges that count
    float cutoff;          // log2 of the smallest weight worth its product
    int nearest;           // charges to sum by direct difference
};

// Scratch of one worker.
struct RowScratch {
    explicit RowScratch(int64_t d) : rows(rows_max_nearest * d) {}
    int* index(int count) { return (indices.resize(count), indices.data()); }
    float* value(int count) { return (values.resize(count), values.data()); }
    std::vector<float> rows, values;
    std::vector<int> indices;
};

// So few pairs of a row that they cost less one by one than their share of a matrix product.
constexpr int large_few(int charges) { return std::max(rows_max_nearest, charges / 32); }

// Charge j as floats, in place or in `buffer` [D].
const float* large_charge(const Request& r, int64_t j, float* buffer);

// Takes the charge that is the row's own point out of it, where the request asks for that; its place in the chunk, or -1.
int64_t large_hide_self(const Request& r, const LargeBlock& b, int64_t row);

// One row of a block: picks and sums the nearest charges, turns s into weights, rescales what was summed
// before and adds everything but -sum_j weight_j (y_j - centre), which belongs to `rest`.
void large_row(const Request& r, const LargeBlock& b, int64_t row, const LargeState& state, RowScratch& scratch);

// Names the log scale of the sums; points next to a charge are summed again in long double.
void large_finish(const Request& r, const LargeState& state, int64_t point, double* m);

// All rows of a block; each by one thread. Returns false if `poll` broke it off.
bool large_weigh(const Request& r, const LargeBlock& b, const LargeState& state, int threads, const Poll& poll);

// a - centre as float [rows, cols], contiguous, and |a - centre|^2 [rows] of the differences before they were rounded
bool centre_rows(const Matrix& a, const float* centre, float* out, double* squares, int threads, const Poll& poll);

// log2 of the smallest weight that can matter beside a weight of 1
float large_cutoff(const Request& r);

// By how much r2 may exceed `ref` until the weight relative to that at `ref` is under 2^cutoff.
double large_reach(const Request& r, double ref, float cutoff);

// True where the processor multiplies bfloat16 and the system lets it.
bool bfloat16_available();

// The whole sum by products of bfloat16 parts: x float32 with contiguous rows, y of a type exact in float32. Bytes about
// a centre of whole numbers are exact in bfloat16. `nearest` of each chunk are summed by direct difference. Returns false
// if `poll` broke it off.
bool bfloat16_sum(const Request& r, const Result& out, int nearest, int threads, const Poll& poll);

}  // namespace efm
