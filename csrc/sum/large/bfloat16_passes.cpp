#include "sum/large/bfloat16_passes.h"

#include <algorithm>
#include <cmath>

#include "sum/large/charge_rows.h"
#include "sum/row_kernel.h"

namespace efm {
namespace {

constexpr int all_steps[cache_steps] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

bool any_weight(const float* const* rows, int columns) {
    for (int r = 0; r < panel_size; ++r) {
        int any = 0;
        for (int c = 0; rows[r] && c < columns; ++c) any |= rows[r][c] != 0.0f;
        if (any) return true;
    }
    return false;
}

}  // namespace

PointProducts::PointProducts(const Bfloat16Plan& plan)
    : plan_(plan), stride_(plan.chunk + 16), points_(panels_of(plan.block), plan.steps),
      s_(Aligned::make<float>(plan.block * stride_)), x2_(plan.block), square_(plan.chunk),
      all_(panels_of(plan.block), true) {}

bool PointProducts::take_points(int64_t first, int64_t count) {
    first_point_ = first;
    count_ = count;
    points_.lay_out(panels_of(count));
    const Request& r = plan_.request;
    const int64_t d = plan_.features, stride = d + 16;  // a power of two would map all rows to one cache set
    return parallel_for(points_.panels(), plan_.threads, plan_.poll, [&](int64_t p, int) {
        std::vector<float> data(panel_size * stride);
        const float* rows[panel_size] = {};
        for (int c = 0; c < in_panel(p, count); ++c) {
            const int64_t i = p * panel_size + c;
            const float* x = static_cast<const float*>(r.x.data) + (first + i) * r.x.row_stride;
            float* row = data.data() + c * stride;
            std::copy(x, x + d, row);
            x2_[i] = best_kernels<RowKernels>().shift(row, r.centre, d);
            rows[c] = row;
        }
        for (int64_t k = 0; k < plan_.steps; ++k) {
            product_kernels().pack_a(rows, in_panel(k, d), 1.0f, points_.step(p, k));
            advance(rows, step_size);
        }
    });
}

void PointProducts::take_charges(int64_t first, int count) {
    chunk_.start(plan_.request, first, count);
    described_ = false;
}

struct PointProducts::Slice {
    int64_t panel, first_step;
    int steps;
    int64_t features;
};

bool PointProducts::multiply(bool hi) { return multiply(hi, all_); }

// Charges are packed right before they are multiplied, so that they are still in the cache. Their squared lengths are
// computed when they are first read.
bool PointProducts::multiply(bool hi, const std::vector<uint8_t>& panels) {
    const int64_t charge_panels = panels_of(chunk_.count), group = plan_.group_of(charge_panels);
    const int64_t tasks = (charge_panels + group - 1) / group;
    const bool finished = parallel_for(tasks, plan_.threads, plan_.poll, [&](int64_t task, int worker) {
        TileSession tiles;
        ChargeRows charges(plan_.request.y, cache_steps * step_size);
        const int64_t first = task * group, last = std::min(charge_panels, first + group);
        for (int64_t k = 0; k < plan_.steps; k += cache_steps) {
            const int steps = static_cast<int>(std::min<int64_t>(cache_steps, plan_.steps - k));
            const int64_t features = std::min<int64_t>(steps * step_size, plan_.features - k * step_size);
            for (int64_t c = first; c < last; ++c) {
                uint16_t* packed = plan_.packed(worker) + (c - first) * cache_steps * step_words;
                const Slice slice{c, k, steps, features};
                pack(slice, hi || plan_.exact, charges, packed);
                multiply(slice, hi, panels, packed);
            }
        }
        for (int64_t c = first; !described_ && c < last; ++c) describe(c);
    });
    described_ = true;
    return finished;
}

void PointProducts::pack(const Slice& slice, bool hi_only, ChargeRows& charges, uint16_t* packed) {
    const float* rows[panel_size];
    const int64_t first = slice.first_step * step_size;
    charges.read(chunk_.first + slice.panel * panel_size, chunk_.first + chunk_.count, first, slice.features, rows);
    if (!described_) add_squares(slice.panel, rows, first, slice.features);
    for (int k = 0; k < slice.steps; ++k) {
        const float* centre = plan_.request.centre + first + k * step_size;
        product_kernels().pack_columns(rows, centre, in_panel(k, slice.features), hi_only, packed + k * step_words);
        advance(rows, step_size);
    }
}

void PointProducts::multiply(const Slice& slice, bool hi, const std::vector<uint8_t>& panels, const uint16_t* packed) {
    const ProductKernels& product = product_kernels();
    alignas(64) float block[panel_size * panel_size];
    for (int64_t p = 0; p < points_.panels(); ++p) {
        if (!panels[p]) continue;
        const uint16_t* points = points_.step(p, slice.first_step);
        if (hi) product.multiply_hi(points, packed, slice.steps, block);
        else product.multiply(points, packed, all_steps, slice.steps, plan_.exact, block);
        product.accumulate(s_.get() + p * panel_size * stride_ + slice.panel * panel_size, stride_, block, in_panel(p, count_),
                       panel_size, slice.first_step == 0);
    }
}

void PointProducts::add_squares(int64_t panel, const float* const* rows, int64_t first, int64_t features) {
    for (int c = 0; c < panel_size && rows[c]; ++c) {
        const double square = product_kernels().square(rows[c], plan_.request.centre + first, features);
        double& total = square_[panel * panel_size + c];
        total = first == 0 ? square : total + square;
    }
}

void PointProducts::describe(int64_t panel) {
    for (int64_t j = panel * panel_size; j < panel * panel_size + in_panel(panel, chunk_.count); ++j) {
        if (!std::isfinite(square_[j])) bad_ = true;
        chunk_.describe(plan_.request, j, square_[j]);
    }
}

WeightProducts::WeightProducts(const Bfloat16Plan& plan)
    : plan_(plan), weights_(panels_of(plan.block), panels_of(plan.chunk)),
      live_(panels_of(plan.block) * panels_of(plan.chunk)) {}

bool WeightProducts::weigh(const LargeBlock& block, LargeSums& sums) {
    weights_.lay_out(panels_of(block.points));
    charge_panels_ = panels_of(block.chunk.count);
    return parallel_for(weights_.panels(), plan_.threads, plan_.poll, [&](int64_t p, int) {
        RowScratch scratch(plan_.features);
        const float* rows[panel_size] = {};
        for (int c = 0; c < in_panel(p, block.points); ++c) {
            const int64_t i = p * panel_size + c;
            merge_row(block, i, sums, scratch);
            rows[c] = block.s + i * block.stride;
        }
        for (int64_t k = 0; k < charge_panels_; ++k) {
            const int columns = in_panel(k, block.chunk.count);
            const bool live = any_weight(rows, columns);
            live_[p * charge_panels_ + k] = live;
            if (live) product_kernels().pack_a(rows, columns, -1.0f, weights_.step(p, k));
            advance(rows, step_size);
        }
    });
}

int64_t WeightProducts::idle() const {
    int64_t idle = 0;
    for (int64_t p = 0; p < weights_.panels(); ++p)
        idle += std::none_of(live(p), live(p) + charge_panels_, [](uint8_t any) { return any != 0; });
    return idle;
}

bool WeightProducts::any_live(int64_t charge_panel) const {
    for (int64_t p = 0; p < weights_.panels(); ++p)
        if (live(p)[charge_panel]) return true;
    return false;
}

struct WeightProducts::Slice {
    int64_t first_feature, last_feature;  // panels of features
    int64_t first, last;                  // panels of charges
    const ChargeChunk& chunk;
};

bool WeightProducts::displace(const LargeBlock& block, float* rest) {
    const int64_t group = plan_.group_of(plan_.steps);
    return parallel_for((plan_.steps + group - 1) / group, plan_.threads, plan_.poll, [&](int64_t task, int worker) {
        TileSession tiles;
        ChargeRows charges(plan_.request.y, cache_steps * step_size);
        const int64_t first = task * group, last = std::min(plan_.steps, first + group);
        for (int64_t k = 0; k < charge_panels_; k += cache_steps) {
            const Slice slice{first, last, k, std::min(charge_panels_, k + cache_steps), block.chunk};
            pack(slice, charges, plan_.packed(worker));
            multiply(slice, block, plan_.packed(worker), rest);
        }
    });
}

// Packs the panels of charges that have any weight. Here charges are the summed index, and features the columns.
void WeightProducts::pack(const Slice& slice, ChargeRows& charges, uint16_t* packed) const {
    const int64_t first = slice.first_feature * step_size;
    const int64_t features = std::min<int64_t>((slice.last_feature - slice.first_feature) * step_size, plan_.features - first);
    for (int64_t k = slice.first; k < slice.last; ++k) {
        if (!any_live(k)) continue;
        const float* rows[panel_size];
        charges.read(slice.chunk.first + k * panel_size, slice.chunk.first + slice.chunk.count, first, features, rows);
        for (int64_t f = 0; f < slice.last_feature - slice.first_feature; ++f) {
            product_kernels().pack_sums(rows, plan_.request.centre + first + f * step_size, in_panel(f, features), plan_.exact,
                                    packed + (f * cache_steps + k - slice.first) * step_words);
            advance(rows, step_size);
        }
    }
}

void WeightProducts::multiply(const Slice& slice, const LargeBlock& block, const uint16_t* packed, float* rest) const {
    const ProductKernels& product = product_kernels();
    alignas(64) float sums[panel_size * panel_size];
    int steps[cache_steps];
    const int64_t d = plan_.features;
    for (int64_t f = slice.first_feature; f < slice.last_feature; ++f)
        for (int64_t p = 0; p < weights_.panels(); ++p) {
            int count = 0;
            for (int64_t k = slice.first; k < slice.last; ++k)
                if (live(p)[k]) steps[count++] = static_cast<int>(k - slice.first);
            if (count == 0) continue;
            product.multiply(weights_.step(p, slice.first), packed + (f - slice.first_feature) * cache_steps * step_words,
                         steps, count, plan_.exact, sums);
            product.accumulate(rest + (block.first_point + p * panel_size) * d + f * panel_size, d, sums,
                           in_panel(p, block.points), in_panel(f, d), false);
        }
}

}  // namespace efm
