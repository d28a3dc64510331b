// The passes of the bfloat16 sum over one chunk of charges and one block of points.
#pragma once

#include <atomic>
#include <vector>

#include "sum/large/bfloat16_plan.h"
#include "sum/large/charge_rows.h"
#include "sum/large/large.h"

namespace efm {

// First pass: s = (x - centre) . (y - centre).
class PointProducts {
public:
    explicit PointProducts(const Bfloat16Plan& plan);

    // Packs the points [first, first + count). Here and below, false means that `poll` stopped it.
    bool take_points(int64_t first, int64_t count);

    // Takes the charges [first, first + count). The first multiplication computes their squared lengths.
    void take_charges(int64_t first, int count);

    // Multiplies all points, or those in the chosen `panels`, by the chunk: only their hi parts if `hi`, otherwise in full.
    bool multiply(bool hi);
    bool multiply(bool hi, const std::vector<uint8_t>& panels);

    bool found_bad() const { return bad_; }  // a charge that is not finite
    int64_t panels() const { return points_.panels(); }
    LargeBlock block() { return {first_point_, count_, chunk_, s_.get(), stride_, x2_.data()}; }

private:
    struct Slice;  // some steps of one panel of charges
    void pack(const Slice& slice, bool hi_only, ChargeRows& charges, uint16_t* packed);
    void multiply(const Slice& slice, bool hi, const std::vector<uint8_t>& panels, const uint16_t* packed);
    void add_squares(int64_t panel, const float* const* rows, int64_t first, int64_t features);
    void describe(int64_t panel);

    const Bfloat16Plan& plan_;
    int64_t stride_, first_point_ = 0, count_ = 0;
    PackedPanels points_;
    Aligned::Array<float> s_;
    std::vector<double> x2_, square_;
    std::vector<uint8_t> all_;
    ChargeChunk chunk_;
    bool described_ = false;
    std::atomic<bool> bad_{false};
};

// Second pass: turns products into weights. Third pass: rest -= weights . (y - centre).
class WeightProducts {
public:
    explicit WeightProducts(const Bfloat16Plan& plan);

    // Second pass: merges every row of the block into the sums, and packs the pairs of panels that hold weights.
    bool weigh(const LargeBlock& block, LargeSums& sums);
    // Third pass.
    bool displace(const LargeBlock& block, float* rest);

    // The number of panels of points that hold no weight for the third pass.
    int64_t idle() const;

private:
    struct Slice;  // some panels of features of some panels of charges
    void pack(const Slice& slice, ChargeRows& charges, uint16_t* packed) const;
    void multiply(const Slice& slice, const LargeBlock& block, const uint16_t* packed, float* rest) const;
    bool any_live(int64_t charge_panel) const;
    const uint8_t* live(int64_t point_panel) const { return live_.data() + point_panel * charge_panels_; }

    const Bfloat16Plan& plan_;
    PackedPanels weights_;
    int64_t charge_panels_ = 0;
    std::vector<uint8_t> live_;  // [panels of points][panels of charges]: whether there is a weight
};

}  // namespace efm
