#include "sum/large/large.h"

#include <cfloat>
#include <cmath>
#include <limits>

#include "core/elements.h"
#include "core/logsum.h"
#include "sum/cutoff.h"
#include "sum/direct/careful.h"
#include "sum/direct/direct_kernel.h"

namespace efm {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

LargeSums::LargeSums(const Request& r, const Result& out, int nearest)
    : request(r), nearest(nearest), cutoff(static_cast<float>(cutoff_of(r))), pivot(r.x.rows, infinity), fate(r.x.rows, fine), m(out.m),
      w(out.w), along(out.along), rest(static_cast<float*>(out.rest)) {
    std::fill(w, w + r.x.rows, 0.0);
    std::fill(along, along + r.x.rows, 0.0);
    std::fill(rest, rest + r.x.rows * r.x.cols, 0.0f);
}

void LargeSums::set(int64_t point, double value) {
    m[point] = value;
    along[point] = value == infinity ? 0.0 : value;
    const int64_t d = request.x.cols;
    std::fill(rest + point * d, rest + (point + 1) * d, static_cast<float>(along[point]));
}

void LargeSums::finish(int64_t point) {
    if (fate[point] & not_a_number) {
        w[point] = std::numeric_limits<double>::quiet_NaN();
        return set(point, w[point]);
    }
    with_kernel(request.kernel, [&](const auto& function) {
        const double least = pivot[point];
        const bool tiny = function.singular && least != 0.0 && least < direct_tiny32;
        if (fate[point] & sum_again || tiny || !std::isfinite(w[point])) {
            const int64_t d = request.x.cols;
            std::vector<double> sums(d + 1);
            careful_point(request, point, m + point, sums.data());
            w[point] = sums[0];
            along[point] = 0.0;
            std::transform(sums.begin() + 1, sums.end(), rest + point * d, [](double v) { return static_cast<float>(v); });
        } else if (function.singular && least == 0.0) {
            set(point, infinity);
        } else {
            m[point] = function.log_kernel(least);
        }
    });
}

void ChargeChunk::start(const Request& r, int64_t first_charge, int charges) {
    first = first_charge;
    count = charges;
    counting = 0;
    square.resize(count);
    weight.resize(r.weight ? count : 0);
    for (int j = 0; j < count; ++j) {
        counting += r.counts(first + j);
        if (r.weight) weight[j] = static_cast<float>(r.weight[first + j]);
    }
}

void ChargeChunk::describe(const Request& r, int64_t j, double squared_length) {
    square[j] = static_cast<float>(r.counts(first + j) ? squared_length : infinity);
}

LargeRow::LargeRow(const Request& r, const LargeBlock& b, int64_t row)
    : point(b.first_point + row), x(static_cast<const float*>(r.x.data) + point * r.x.row_stride),
      s(b.s + row * b.stride), x2(b.x2[row]), base(r.base(point)) {}

int64_t LargeRow::hide_self(const Request& r, const ChargeChunk& chunk) const {
    if (r.first_self == no_self) return -1;
    const int64_t self = point - r.first_self - chunk.first;
    if (self < 0 || self >= chunk.count) return -1;
    s[self] = -FLT_MAX;  // this makes its distance infinite
    return self;
}

const float* large_charge(const Request& r, int64_t j, float* buffer) {
    if (r.y.dtype == Dtype::f32 && r.y.col_stride == 1) return static_cast<const float*>(r.y.data) + j * r.y.row_stride;
    read_row(r.y, j, buffer);
    return buffer;
}

double large_reach(const Request& r, double pivot, float cutoff) {
    return with_kernel(r.kernel, [&](const auto& function) { return function.reach(pivot, -static_cast<double>(cutoff)); });
}

}  // namespace efm
