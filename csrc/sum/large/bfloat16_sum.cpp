// The large-D sum with both matrix products of bfloat16 parts, on AMX tiles or by AVX-512.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "core/aligned.h"
#include "sum/large/product.h"
#include "sum/large/charge_rows.h"
#include "simd/cpu.h"
#include "sum/large/large.h"
#include "sum/large/screen.h"

namespace efm {

#if !defined(EFM_FAST_X86)

bool bfloat16_available() { return false; }
bool bfloat16_sum(const Request&, const Result&, int, int, const Poll&) { return true; }

#else

namespace {

constexpr int64_t chunk_bytes = int64_t{24} << 20;  // of float32 charges: they stay in a large last-level cache
constexpr int64_t block_bytes = int64_t{32} << 20;  // of packed points
constexpr int largest_chunk = 8192, largest_block = 512;
// in the second-level cache together: these steps of a block of points and of a group of panels of charges
constexpr int cache_steps = 16, largest_group = 8;

constexpr int64_t packed_words = largest_group * cache_steps * amx_step_words;  // of one worker
static_assert(largest_group <= cache_steps, "a group of feature panels is read in one go");
constexpr int all_steps[cache_steps] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

int64_t whole_slices(int64_t steps) { return (steps + cache_steps - 1) / cache_steps * cache_steps; }

// Where a step of a panel of points lies: cache_steps of them together, of all panels side by side. A panel's steps in
// one piece would put the same step of all panels into one set of the cache.
int64_t step_of(int64_t panel, int64_t panels, int64_t step) {
    return ((step / cache_steps * panels + panel) * cache_steps + step % cache_steps) * amx_step_words;
}

int64_t panels_of(int64_t count) { return (count + amx_panel - 1) / amx_panel; }

enum class Screening { off, on, never };  // never: tried in vain

class TileSum {
public:
    TileSum(const Request& r, const Result& out, int nearest, int threads, const Poll& poll)
        : r_(r), out_(out), rest_(static_cast<float*>(out.rest)), nearest_(nearest), threads_(threads), poll_(poll), n_(r.x.rows), d_(r.x.cols),
          steps_(panels_of(d_)), cutoff_(large_cutoff(r)), exact_(r.y.dtype == Dtype::u8 && std::all_of(r.centre, r.centre + r.x.cols, [](float c) {
              return c == std::nearbyint(c);
          })) {
        chunk_ = std::clamp<int64_t>(chunk_bytes / (steps_ * amx_panel * 4) / 128 * 128, 128, largest_chunk);
        chunk_ = std::min(chunk_, panels_of(r.y.rows) * amx_panel);
        block_ = std::clamp<int64_t>(block_bytes / (steps_ * amx_panel * 4) / amx_panel * amx_panel, amx_panel, largest_block);
        block_ = std::min(block_, panels_of(n_) * amx_panel);
        stride_ = chunk_ + 16;
        const int64_t chunk_panels = chunk_ / amx_panel, block_panels = block_ / amx_panel;
        packed_ = Aligned::make<uint16_t>(threads_ * packed_words);
        x_ = Aligned::make<uint16_t>(step_of(0, block_panels, whole_slices(steps_)));
        weights_ = Aligned::make<uint16_t>(step_of(0, block_panels, whole_slices(chunk_panels)));
        s_ = Aligned::make<float>(block_ * stride_);
        y2_.resize(chunk_);
        square_.resize(chunk_);
        q_.resize(chunk_);
        x2_.resize(block_);
        live_.resize(block_panels * chunk_panels);
        full_.resize(block_panels);
        ref_.assign(n_, std::numeric_limits<double>::infinity());
        fate_.assign(n_, fine);
    }

    bool run() {
        std::fill(out_.w, out_.w + n_, 0.0);
        std::fill(out_.along, out_.along + n_, 0.0);
        std::fill(rest_, rest_ + n_ * d_, 0.0f);
        screening_ = screen_pays(r_, cutoff_) ? Screening::on : Screening::off;
        for (int64_t j = 0; j < r_.y.rows; j += chunk_) {
            first_charge_ = j;
            charges_ = static_cast<int>(std::min(chunk_, r_.y.rows - j));
            for (int64_t i = 0; i < n_; i += block_) {
                first_point_ = i;
                points_ = std::min(block_, n_ - i);
                if ((j == 0 || n_ > block_) && !pack_points()) return false;
                if (!products() || !weigh() || !displacements()) return false;
                expect();
            }
        }
        const LargeState state = this->state();
        return parallel_for(panels_of(n_), threads_, poll_, [&](int64_t p, int) {
            for (int64_t i = p * amx_panel; i < std::min(n_, (p + 1) * amx_panel); ++i)
                large_finish(r_, state, i, out_.m);
        });
    }

private:
    LargeState state() { return {ref_.data(), out_.w, out_.along, rest_, fate_.data()}; }

    void describe_charges(int64_t panel) {
        for (int64_t j = panel * amx_panel; j < std::min((panel + 1) * amx_panel, chunk_); ++j) {
            const bool counts = j < charges_ && !(r_.weight && r_.weight[first_charge_ + j] == 0.0);
            q_[j] = counts && r_.weight ? static_cast<float>(r_.weight[first_charge_ + j]) : 1.0f;
            if (j < charges_ && !std::isfinite(square_[j])) bad_ = true;
            y2_[j] = counts ? static_cast<float>(square_[j]) : std::numeric_limits<float>::infinity();
            counted_ += counts;
        }
    }

    bool pack_points() {
        const AmxKernels& amx = amx_kernels();
        return parallel_for(panels_of(points_), threads_, poll_, [&](int64_t p, int) {
            std::vector<float> data(amx_panel * row_stride());
            const float* rows[amx_panel] = {};
            for (int c = 0; c < amx_panel && p * amx_panel + c < points_; ++c) {
                const int64_t i = p * amx_panel + c;
                const float* x = static_cast<const float*>(r_.x.data) + (first_point_ + i) * r_.x.row_stride;
                float* row = data.data() + c * row_stride();
                std::copy(x, x + d_, row);
                x2_[i] = row_kernels().shift(row, r_.centre, d_);
                rows[c] = row;
            }
            for (int64_t k = 0; k < steps_; ++k) {
                const int columns = static_cast<int>(std::min<int64_t>(amx_step, d_ - k * amx_step));
                amx.pack_a(rows, columns, 1.0f, x_.get() + step_of(p, panels_of(points_), k));
                advance(rows, amx_step);
            }
        });
    }

    // off the power of two that would map all rows of a panel to one cache set
    int64_t row_stride() const { return d_ + 16; }

    int64_t group_of(int64_t panels) const { return std::clamp<int64_t>(panels / (4 * threads_), 1, largest_group); }

    // s = x . y: rounded products first, where few pairs can matter, and full ones where they are not few
    bool products() {
        counted_ = 0;
        std::fill(full_.begin(), full_.end(), true);
        if (screening_ != Screening::on) return multiply(false, true);
        if (!multiply(true, true) || !screen()) return false;
        const int64_t panels = panels_of(points_), left = std::count(full_.begin(), full_.begin() + panels, true);
        if (2 * left > panels) screening_ = Screening::never;
        return left == 0 || multiply(false, false);
    }

    // which panels of points need full products
    bool screen() {
        const LargeState state = this->state();
        const LargeBlock block = this->block();
        return parallel_for(panels_of(points_), threads_, poll_, [&](int64_t p, int) {
            RowScratch scratch(d_);
            const int64_t last = std::min(points_, (p + 1) * amx_panel);
            int64_t i = p * amx_panel;
            while (i < last && screen_row(r_, block, i, state, screen_doubt(exact_), scratch)) ++i;
            full_[p] = i < last;
        });
    }

    LargeBlock block() {
        return {first_point_, points_,      first_charge_,  charges_,  s_.get(), stride_, y2_.data(),
                r_.weight ? q_.data() : nullptr, x2_.data(), counted_, cutoff_, nearest_};
    }

    // s = x . y of the panels of points that are asked for, of their hi parts alone or in full. Charges are packed into
    // the cache right before they are multiplied, and described when they are first read.
    bool multiply(bool hi, bool describes) {
        const AmxKernels& amx = amx_kernels();
        const int64_t panels = panels_of(charges_), group = group_of(panels);
        const bool finished = parallel_for((panels + group - 1) / group, threads_, poll_, [&](int64_t task, int worker) {
            TileSession tiles;
            alignas(64) float block[amx_panel * amx_panel];
            uint16_t* packed = packed_.get() + worker * packed_words;
            ChargeRows charges(r_.y, cache_steps * amx_step);
            const float* rows[amx_panel];
            const int64_t first = task * group, last = std::min(panels, first + group);
            for (int64_t k0 = 0; k0 < steps_; k0 += cache_steps) {
                const int count = static_cast<int>(std::min<int64_t>(cache_steps, steps_ - k0));
                const int64_t features = std::min<int64_t>(count * amx_step, d_ - k0 * amx_step);
                for (int64_t c = first; c < last; ++c) {
                    charges.read(first_charge_ + c * amx_panel, first_charge_ + charges_, k0 * amx_step, features, rows);
                    uint16_t* panel = packed + (c - first) * cache_steps * amx_step_words;
                    if (describes) add_squares(c, rows, k0 * amx_step, features);
                    for (int k = 0; k < count; ++k) {
                        const float* centre = r_.centre + (k0 + k) * amx_step;
                        amx.pack_columns(rows, centre, static_cast<int>(std::min<int64_t>(amx_step, features - k * amx_step)),
                                         hi || exact_, panel + k * amx_step_words);
                        advance(rows, amx_step);
                    }
                    for (int64_t p = 0; p < panels_of(points_); ++p) {
                        if (!full_[p]) continue;
                        const uint16_t* points = x_.get() + step_of(p, panels_of(points_), k0);
                        if (hi) amx.multiply_hi(points, panel, count, block);
                        else amx.multiply(points, panel, all_steps, count, exact_, block);
                        amx.accumulate(s_.get() + p * amx_panel * stride_ + c * amx_panel, stride_, block,
                                       static_cast<int>(std::min<int64_t>(amx_panel, points_ - p * amx_panel)), amx_panel,
                                       k0 == 0);
                    }
                }
            }
            for (int64_t c = first; describes && c < last; ++c) describe_charges(c);
        });
        if (bad_) std::fill(fate_.begin(), fate_.end(), not_a_number);
        return finished;
    }

    void add_squares(int64_t panel, const float* const* rows, int64_t first, int64_t features) {
        for (int c = 0; c < amx_panel && rows[c]; ++c) {
            const double square = amx_kernels().square(rows[c], r_.centre + first, features);
            double& total = square_[panel * amx_panel + c];
            total = first == 0 ? square : total + square;
        }
    }

    // The next chunk is screened if this one left most panels of points without a weight that needs the product.
    void expect() {
        if (screening_ == Screening::never) return;
        const int64_t panels = panels_of(charges_), count = panels_of(points_);
        int64_t idle = 0;
        for (int64_t p = 0; p < count; ++p) {
            const auto first = live_.begin() + p * panels;
            idle += std::none_of(first, first + panels, [](uint8_t live) { return live != 0; });
        }
        screening_ = 2 * idle > count ? Screening::on : Screening::off;
    }

    // s becomes weights, and those pairs of panels that hold any are packed
    bool weigh() {
        const LargeState state = this->state();
        const LargeBlock block = this->block();
        const int64_t panels = panels_of(charges_);
        return parallel_for(panels_of(points_), threads_, poll_, [&](int64_t p, int) {
            RowScratch scratch(d_);
            const float* rows[amx_panel] = {};
            for (int c = 0; c < amx_panel && p * amx_panel + c < points_; ++c) {
                const int64_t i = p * amx_panel + c;
                large_row(r_, block, i, state, scratch);
                rows[c] = s_.get() + i * stride_;
            }
            for (int64_t k = 0; k < panels; ++k) {
                const int columns = static_cast<int>(std::min<int64_t>(amx_step, charges_ - k * amx_step));
                bool live = false;
                for (const float* row : rows) {
                    if (!row || live) continue;
                    int any = 0;
                    for (int c = 0; c < columns; ++c) any |= row[c] != 0.0f;
                    live = any != 0;
                }
                live_[p * panels + k] = live;
                if (live) amx_kernels().pack_a(rows, columns, -1.0f, weights_.get() + step_of(p, panels_of(points_), k));
                advance(rows, amx_step);
            }
        });
    }

    // rest -= weights . (y - centre)
    bool displacements() {
        const AmxKernels& amx = amx_kernels();
        const int64_t panels = panels_of(charges_), group = group_of(steps_), blocks = panels_of(points_);
        return parallel_for((steps_ + group - 1) / group, threads_, poll_, [&](int64_t task, int worker) {
            TileSession tiles;
            alignas(64) float block[amx_panel * amx_panel];
            uint16_t* packed = packed_.get() + worker * packed_words;
            ChargeRows charges(r_.y, cache_steps * amx_step);
            int steps[cache_steps];
            const int64_t first = task * group, last = std::min(steps_, first + group);
            for (int64_t k0 = 0; k0 < panels; k0 += cache_steps) {
                const int64_t k1 = std::min(panels, k0 + cache_steps);
                for (int64_t k = k0; k < k1; ++k) pack_sums(k, k - k0, first, last, charges, packed);
                for (int64_t f = first; f < last; ++f)
                    for (int64_t p = 0; p < blocks; ++p) {
                        int count = 0;
                        for (int64_t k = k0; k < k1; ++k)
                            if (live_[p * panels + k]) steps[count++] = static_cast<int>(k - k0);
                        if (count == 0) continue;
                        amx.multiply(weights_.get() + step_of(p, blocks, k0),
                                     packed + (f - first) * cache_steps * amx_step_words, steps, count, exact_, block);
                        amx.accumulate(rest_ + (first_point_ + p * amx_panel) * d_ + f * amx_panel, d_, block,
                                       static_cast<int>(std::min<int64_t>(amx_panel, points_ - p * amx_panel)),
                                       static_cast<int>(std::min<int64_t>(amx_panel, d_ - f * amx_panel)), false);
                    }
            }
        });
    }

    // The charges of panel k as step `slot` of the panels of features [first, last), if any weight needs them
    void pack_sums(int64_t k, int64_t slot, int64_t first, int64_t last, ChargeRows& charges, uint16_t* packed) const {
        bool needed = false;
        for (int64_t p = 0; p < panels_of(points_); ++p) needed = needed || live_[p * panels_of(charges_) + k];
        if (!needed) return;
        const float* rows[amx_panel];
        const int64_t features = std::min<int64_t>((last - first) * amx_step, d_ - first * amx_step);
        charges.read(first_charge_ + k * amx_panel, first_charge_ + charges_, first * amx_step, features, rows);
        for (int64_t f = first; f < last; ++f) {
            const int64_t done = (f - first) * amx_step;
            amx_kernels().pack_sums(rows, r_.centre + f * amx_step,
                                    static_cast<int>(std::min<int64_t>(amx_step, features - done)), exact_,
                                    packed + ((f - first) * cache_steps + slot) * amx_step_words);
            advance(rows, amx_step);
        }
    }

    const Request& r_;
    const Result& out_;
    float* rest_;
    int nearest_, threads_;
    const Poll& poll_;
    int64_t n_, d_, steps_;
    float cutoff_;
    int64_t chunk_, block_, stride_;
    bool exact_;  // charges less the centre are exact in bfloat16
    Screening screening_ = Screening::off;
    int64_t first_charge_ = 0, first_point_ = 0, points_ = 0;
    int charges_ = 0;
    std::atomic<int> counted_{0};
    std::atomic<bool> bad_{false};
    Aligned::Array<uint16_t> packed_, x_, weights_;
    Aligned::Array<float> s_;
    std::vector<float> y2_, q_;
    std::vector<double> x2_, square_, ref_;
    std::vector<uint8_t> live_, full_, fate_;
};

}  // namespace

bool bfloat16_available() {
    static const bool available = cpu_has_bfloat16() && amx_kernels().enable();
    return available;
}

bool bfloat16_sum(const Request& r, const Result& out, int nearest, int threads, const Poll& poll) {
    if (!bfloat16_available()) throw std::runtime_error("this processor does not multiply bfloat16");
    return TileSum(r, out, nearest, threads, poll).run();
}

#endif

}  // namespace efm
