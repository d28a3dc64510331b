// How the large sum by products of bfloat16 parts is split, and the layout of its packed operands.
//
// Operands are packed in panels of 32 (product.h). Charges are split into chunks and points into blocks. The products of a
// chunk and a block are computed, turned into weights and multiplied by the charges before the next block begins.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/aligned.h"
#include "core/request.h"
#include "core/threads.h"
#include "sum/large/product.h"

namespace efm {

// So many steps of a block of points and of a group of panels of charges fit into the second-level cache together.
constexpr int cache_steps = 16, largest_group = 8;
constexpr int64_t packed_words = largest_group * cache_steps * step_words;  // of one worker
static_assert(largest_group <= cache_steps, "a group of feature panels is read in one go");

inline int64_t panels_of(int64_t count) { return (count + panel_size - 1) / panel_size; }

// How many of the 32 rows of a panel are in use, if there are `count` rows in all.
inline int in_panel(int64_t panel, int64_t count) {
    return static_cast<int>(std::min<int64_t>(panel_size, count - panel * panel_size));
}

// Packed panels. The first cache_steps steps of all panels lie together, then the next ones. With all steps of a panel
// together, the same step of all panels would fall into one set of the cache.
class PackedPanels {
public:
    PackedPanels(int64_t most_panels, int64_t steps)
        : words_(Aligned::make<uint16_t>((steps + cache_steps - 1) / cache_steps * cache_steps * most_panels * step_words)) {}

    void lay_out(int64_t panels) { panels_ = panels; }
    int64_t panels() const { return panels_; }
    uint16_t* step(int64_t panel, int64_t step) const {
        return words_.get() + ((step / cache_steps * panels_ + panel) * cache_steps + step % cache_steps) * step_words;
    }

private:
    int64_t panels_ = 0;
    Aligned::Array<uint16_t> words_;
};

// The sizes and buffers that the passes over a request share.
struct Bfloat16Plan {
    Bfloat16Plan(const Request& request, int threads, const Poll& poll);

    // Panels per task: few enough that the packed panels stay in the cache.
    int64_t group_of(int64_t panels) const { return std::clamp<int64_t>(panels / (4 * threads), 1, largest_group); }
    uint16_t* packed(int worker) const { return packed_.get() + worker * packed_words; }

    const Request& request;
    int threads;
    const Poll& poll;
    int64_t points, features, steps;  // of the request; steps of 32 features
    int64_t chunk, block;             // most charges and points at a time, whole panels
    bool exact;                       // whether charges less the centre are exact in bfloat16

private:
    Aligned::Array<uint16_t> packed_;
};

}  // namespace efm
