#include "sum/large/bfloat16_sum.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "sum/large/bfloat16_passes.h"
#include "sum/large/screen.h"

namespace efm {

#if !defined(EFM_FAST_X86)

bool bfloat16_available() { return false; }
bool bfloat16_sum(const Request&, const Result&, int, int, const Poll&) { return true; }

#else

namespace {

constexpr int64_t chunk_bytes = int64_t{24} << 20;  // of a chunk of float32 charges, which fits a large last-level cache
constexpr int64_t block_bytes = int64_t{32} << 20;  // of a block of packed points
constexpr int largest_chunk = 8192, largest_block = 512;

enum class Screening { off, on, never };  // never: it was tried and did not pay

class Bfloat16Sum {
public:
    Bfloat16Sum(const Bfloat16Plan& plan, const Result& out, int nearest)
        : plan_(plan), sums_(plan.request, out, nearest), products_(plan), weights_(plan) {}

    bool run() {
        const int64_t n = plan_.points, m = plan_.request.y.rows;
        screening_ = screen_pays(plan_.request, sums_.cutoff) ? Screening::on : Screening::off;
        for (int64_t j = 0; j < m; j += plan_.chunk)
            for (int64_t i = 0; i < n; i += plan_.block) {
                products_.take_charges(j, static_cast<int>(std::min(plan_.chunk, m - j)));
                const bool taken = j > 0 && n <= plan_.block;
                if (!taken && !products_.take_points(i, std::min(plan_.block, n - i))) return false;
                if (!add_block()) return false;
            }
        return parallel_for(panels_of(n), plan_.threads, plan_.poll, [&](int64_t p, int) {
            for (int64_t i = p * panel_size; i < std::min(n, (p + 1) * panel_size); ++i) sums_.finish(i);
        });
    }

private:
    bool add_block() {
        if (!multiply()) return false;
        if (products_.found_bad()) sums_.spoil();
        const LargeBlock block = products_.block();
        if (!weights_.weigh(block, sums_) || !weights_.displace(block, sums_.rest)) return false;
        // screen the next chunk if most panels of points held no weight for the third pass
        if (screening_ != Screening::never)
            screening_ = 2 * weights_.idle() > products_.panels() ? Screening::on : Screening::off;
        return true;
    }

    // Computes products in full. If screening is on, computes rounded products first, and full ones only for the panels of
    // points that have many pairs with a weight.
    bool multiply() {
        if (screening_ != Screening::on) return products_.multiply(false);
        if (!products_.multiply(true)) return false;
        if (products_.found_bad()) sums_.spoil();
        std::vector<uint8_t> many(products_.panels());
        if (!screen(many)) return false;
        const int64_t left = std::count(many.begin(), many.end(), uint8_t{1});
        if (2 * left > products_.panels()) screening_ = Screening::never;
        return left == 0 || products_.multiply(false, many);
    }

    // Marks the panels of points that need full products.
    bool screen(std::vector<uint8_t>& many) {
        const LargeBlock block = products_.block();
        return parallel_for(products_.panels(), plan_.threads, plan_.poll, [&](int64_t p, int) {
            RowScratch scratch(plan_.features);
            const int64_t last = std::min(block.points, (p + 1) * panel_size);
            int64_t i = p * panel_size;
            while (i < last && screen_row(block, i, sums_, screen_doubt(plan_.exact), scratch)) ++i;
            many[p] = i < last;
        });
    }

    const Bfloat16Plan& plan_;
    LargeSums sums_;
    PointProducts products_;
    WeightProducts weights_;
    Screening screening_ = Screening::off;
};

}  // namespace

Bfloat16Plan::Bfloat16Plan(const Request& r, int threads, const Poll& poll)
    : request(r), threads(threads), poll(poll), points(r.x.rows), features(r.x.cols), steps(panels_of(features)),
      exact(r.y.dtype == Dtype::u8 &&
            std::all_of(r.centre, r.centre + features, [](float c) { return c == std::nearbyint(c); })),
      packed_(Aligned::make<uint16_t>(threads * packed_words)) {
    const int64_t row_bytes = steps * step_size * 4;
    chunk = std::clamp<int64_t>(chunk_bytes / row_bytes / 128 * 128, 128, largest_chunk);
    chunk = std::min(chunk, panels_of(r.y.rows) * panel_size);
    block = std::clamp<int64_t>(block_bytes / row_bytes / panel_size * panel_size, panel_size, largest_block);
    block = std::min(block, panels_of(points) * panel_size);
}

bool bfloat16_available() {
    static const bool available = instruction_set() >= InstructionSet::bf16 && product_kernels().enable();
    return available;
}

bool bfloat16_sum(const Request& r, const Result& out, int nearest, int threads, const Poll& poll) {
    if (!bfloat16_available()) throw std::runtime_error("this processor does not multiply bfloat16");
    const Bfloat16Plan plan(r, threads, poll);
    return Bfloat16Sum(plan, out, nearest).run();
}

#endif

}  // namespace efm
