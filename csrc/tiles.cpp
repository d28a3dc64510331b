// The large-D sum with both matrix products on AMX tiles.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "amx.h"
#include "cpu.h"
#include "elements.h"
#include "large.h"

namespace efm {

#if !defined(EFM_FAST_X86)

bool amx_available() { return false; }
bool amx_sum(const Request&, double*, float*, float*, int, int, const Poll&) { return true; }

#else

namespace {

constexpr int64_t chunk_bytes = int64_t{48} << 20;  // of packed charges: they stay in a large last-level cache
constexpr int64_t block_bytes = int64_t{32} << 20;  // of packed points
constexpr int largest_chunk = 8192, largest_block = 512;
constexpr int cache_steps = 16;  // steps of all panels of a block that stay in the second-level cache together

struct Aligned {
    struct Free {
        void operator()(void* p) const { std::free(p); }
    };
    template <class T>
    using Array = std::unique_ptr<T[], Free>;

    template <class T>
    static Array<T> make(int64_t count) {
        const size_t unit = static_cast<size_t>(count) * sizeof(T) >= size_t{8} << 20 ? size_t{2} << 20 : 64;
        const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + unit - 1) / unit * unit;
        void* p = std::aligned_alloc(unit, std::max(bytes, unit));
        if (!p) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (unit > 64) madvise(p, bytes, MADV_HUGEPAGE);  // fewer page faults and translations; only a wish
#endif
        return Array<T>(static_cast<T*>(p));
    }
};

struct TileSession {
    TileSession() { amx_kernels().begin(); }
    ~TileSession() { amx_kernels().end(); }
};

int64_t panels_of(int64_t count) { return (count + amx_panel - 1) / amx_panel; }

class TileSum {
public:
    TileSum(const Request& r, double* m, float* w, float* v, int nearest, int threads, const Poll& poll)
        : r_(r), m_(m), w_(w), v_(v), nearest_(nearest), threads_(threads), poll_(poll), n_(r.x.rows), d_(r.x.cols),
          steps_(panels_of(d_)), cutoff_(large_cutoff(r)) {
        chunk_ = std::clamp<int64_t>(chunk_bytes / (steps_ * amx_panel * 8) / 128 * 128, 128, largest_chunk);
        chunk_ = std::min(chunk_, panels_of(r.y.rows) * amx_panel);
        block_ = std::clamp<int64_t>(block_bytes / (steps_ * amx_panel * 4) / amx_panel * amx_panel, amx_panel, largest_block);
        block_ = std::min(block_, panels_of(n_) * amx_panel);
        stride_ = chunk_ + 16;
        const int64_t chunk_panels = chunk_ / amx_panel, block_panels = block_ / amx_panel;
        y_columns_ = Aligned::make<uint16_t>(chunk_panels * steps_ * amx_step_words);
        y_rows_ = Aligned::make<uint16_t>(chunk_panels * steps_ * amx_step_words);
        x_ = Aligned::make<uint16_t>(block_panels * steps_ * amx_step_words);
        weights_ = Aligned::make<uint16_t>(block_panels * chunk_panels * amx_step_words);
        s_ = Aligned::make<float>(block_ * stride_);
        y2_.resize(chunk_);
        q_.resize(chunk_);
        x2_.resize(block_);
        live_.resize(block_panels * chunk_panels);
        ref_.assign(n_, std::numeric_limits<double>::infinity());
        total_.assign(n_, 0.0);
        fate_.assign(n_, fine);
        find_centre();
    }

    bool run() {
        std::fill(v_, v_ + n_ * d_, 0.0f);
        for (int64_t j = 0; j < r_.y.rows; j += chunk_) {
            first_charge_ = j;
            charges_ = static_cast<int>(std::min(chunk_, r_.y.rows - j));
            if (!pack_charges()) return false;
            for (int64_t i = 0; i < n_; i += block_) {
                first_point_ = i;
                points_ = std::min(block_, n_ - i);
                if ((j == 0 || n_ > block_) && !pack_points()) return false;
                if (!distances() || !weigh() || !displacements()) return false;
            }
        }
        const LargeState state = this->state();
        return parallel_for(panels_of(n_), threads_, poll_, [&](int64_t p, int) {
            for (int64_t i = p * amx_panel; i < std::min(n_, (p + 1) * amx_panel); ++i)
                large_finish(r_, state, i, m_, w_);
        });
    }

private:
    LargeState state() { return {ref_.data(), total_.data(), v_, fate_.data()}; }

    // A mean of some charges; whole for bytes, whose differences from it are then exact in bfloat16.
    void find_centre() {
        const bool whole = r_.y.dtype == Dtype::u8;
        exact_ = whole;
        centre_.assign(d_, 0.0f);
        std::vector<double> sum(d_);
        std::vector<float> row(d_);
        const int64_t samples = std::min<int64_t>(r_.y.rows, 256);
        for (int64_t k = 0; k < samples; ++k) {
            read_row(r_.y, k * r_.y.rows / samples, row.data());
            for (int64_t i = 0; i < d_; ++i) sum[i] += row[i];
        }
        for (int64_t i = 0; i < d_; ++i) {
            const double mean = sum[i] / samples;
            centre_[i] = std::isfinite(mean) ? static_cast<float>(whole ? std::nearbyint(mean) : mean) : 0.0f;
        }
    }

    bool pack_charges() {
        const AmxKernels& amx = amx_kernels();
        std::atomic<int> counted{0};
        std::atomic<bool> bad{false};
        const int64_t panels = panels_of(charges_);
        const bool finished = parallel_for(panels, threads_, poll_, [&](int64_t p, int) {
            std::vector<float> data(amx_panel * row_stride());
            const float* rows[amx_panel];
            for (int c = 0; c < amx_panel; ++c) {
                const int64_t j = p * amx_panel + c;
                rows[c] = nullptr;
                if (j >= charges_) {
                    if (j < chunk_) y2_[j] = std::numeric_limits<float>::infinity();
                    continue;
                }
                float* row = data.data() + c * row_stride();
                read_row(r_.y, first_charge_ + j, row);
                const double square = row_kernels().shift(row, centre_.data(), d_);
                if (!std::isfinite(square)) bad = true;
                const double q = r_.weight ? r_.weight[first_charge_ + j] : 1.0;
                q_[j] = static_cast<float>(q);
                y2_[j] = q == 0.0 ? std::numeric_limits<float>::infinity() : static_cast<float>(square);
                counted += q != 0.0;
                rows[c] = row;
            }
            for (int64_t k = 0; k < steps_; ++k) {
                const int columns = static_cast<int>(std::min<int64_t>(amx_step, d_ - k * amx_step));
                amx.pack_b(rows, columns, y_columns_.get() + (p * steps_ + k) * amx_step_words,
                           y_rows_.get() + (k * panels + p) * amx_step_words);
                for (auto& row : rows)
                    if (row) row += amx_step;
            }
        });
        counted_ = counted;
        if (bad) std::fill(fate_.begin(), fate_.end(), not_a_number);
        return finished;
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
                x2_[i] = row_kernels().shift(row, centre_.data(), d_);
                rows[c] = row;
            }
            for (int64_t k = 0; k < steps_; ++k) {
                const int columns = static_cast<int>(std::min<int64_t>(amx_step, d_ - k * amx_step));
                amx.pack_a(rows, columns, 1.0f, x_.get() + (p * steps_ + k) * amx_step_words);
                for (auto& row : rows)
                    if (row) row += amx_step;
            }
        });
    }

    // off the power of two that would map all rows of a panel to one cache set
    int64_t row_stride() const { return d_ + 16; }

    int64_t group_of(int64_t panels) const { return std::clamp<int64_t>(panels / (4 * threads_), 1, 8); }

    // s = x . y
    bool distances() {
        const int64_t panels = panels_of(charges_), group = group_of(panels);
        return parallel_for((panels + group - 1) / group, threads_, poll_, [&](int64_t task, int) {
            TileSession tiles;
            alignas(64) float block[amx_panel * amx_panel];
            int steps[cache_steps];
            for (int64_t k0 = 0; k0 < steps_; k0 += cache_steps) {
                const int count = static_cast<int>(std::min<int64_t>(cache_steps, steps_ - k0));
                for (int k = 0; k < count; ++k) steps[k] = static_cast<int>(k0 + k);
                for (int64_t c = task * group; c < std::min(panels, (task + 1) * group); ++c)
                    for (int64_t p = 0; p < panels_of(points_); ++p) {
                        amx_kernels().multiply(x_.get() + p * steps_ * amx_step_words,
                                               y_columns_.get() + c * steps_ * amx_step_words, steps, count, exact_, block);
                        amx_kernels().accumulate(s_.get() + p * amx_panel * stride_ + c * amx_panel, stride_, block,
                                                 static_cast<int>(std::min<int64_t>(amx_panel, points_ - p * amx_panel)),
                                                 amx_panel, 1.0f, k0 == 0);
                    }
            }
        });
    }

    // s becomes weights, and those pairs of panels that hold any are packed
    bool weigh() {
        const LargeState state = this->state();
        const LargeBlock block{first_point_, points_,      first_charge_,  charges_,  s_.get(), stride_, y2_.data(),
                               r_.weight ? q_.data() : nullptr, x2_.data(), centre_.data(), counted_, cutoff_, nearest_};
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
                if (live) amx_kernels().pack_a(rows, columns, -1.0f, weights_.get() + (p * panels + k) * amx_step_words);
                for (auto& row : rows)
                    if (row) row += amx_step;
            }
        });
    }

    // v -= weights . (y - centre)
    bool displacements() {
        const int64_t panels = panels_of(charges_), group = group_of(steps_);
        return parallel_for((steps_ + group - 1) / group, threads_, poll_, [&](int64_t task, int) {
            TileSession tiles;
            alignas(64) float block[amx_panel * amx_panel];
            int steps[cache_steps];
            for (int64_t k0 = 0; k0 < panels; k0 += cache_steps)
                for (int64_t f = task * group; f < std::min(steps_, (task + 1) * group); ++f)
                    for (int64_t p = 0; p < panels_of(points_); ++p) {
                        int count = 0;
                        for (int64_t k = k0; k < std::min(panels, k0 + cache_steps); ++k)
                            if (live_[p * panels + k]) steps[count++] = static_cast<int>(k);
                        if (count == 0) continue;
                        amx_kernels().multiply(weights_.get() + p * panels * amx_step_words,
                                               y_rows_.get() + f * panels * amx_step_words, steps, count, exact_, block);
                        amx_kernels().accumulate(v_ + (first_point_ + p * amx_panel) * d_ + f * amx_panel, d_, block,
                                                 static_cast<int>(std::min<int64_t>(amx_panel, points_ - p * amx_panel)),
                                                 static_cast<int>(std::min<int64_t>(amx_panel, d_ - f * amx_panel)), 1.0f,
                                                 false);
                    }
        });
    }

    const Request& r_;
    double* m_;
    float *w_, *v_;
    int nearest_, threads_;
    const Poll& poll_;
    int64_t n_, d_, steps_;
    float cutoff_;
    int64_t chunk_, block_, stride_;
    bool exact_ = false;
    int64_t first_charge_ = 0, first_point_ = 0, points_ = 0;
    int charges_ = 0, counted_ = 0;
    Aligned::Array<uint16_t> y_columns_, y_rows_, x_, weights_;
    Aligned::Array<float> s_;
    std::vector<float> y2_, q_, centre_;
    std::vector<double> x2_, ref_, total_;
    std::vector<uint8_t> live_, fate_;
};

}  // namespace

bool amx_available() {
    static const bool available = cpu_has_amx() && amx_kernels().enable();
    return available;
}

bool amx_sum(const Request& r, double* m, float* w, float* v, int nearest, int threads, const Poll& poll) {
    if (!amx_available()) throw std::runtime_error("no AMX tiles on this machine");
    return TileSum(r, m, w, v, nearest, threads, poll).run();
}

#endif

}  // namespace efm
