// Segments of the charges, for host and device code. A sum over both plates is made of one part per segment, and the parts
// are merged in a fixed order. The segments follow from the numbers of charges alone, so that a line has the same bits
// whether one block takes all segments of its sums or many blocks take one each.
#pragma once

#include "lines/line.h"

namespace efm {

constexpr int64_t segment_charges = 8192;  // of one plate; a larger plate than most_segments of them has longer segments
constexpr int64_t most_segments = 1024;

// The charges of one segment of a plate.
struct Segment {
    int64_t first;
    int count;
};

struct Segments {
    int count;
    int plus, minus, places;  // charges of a segment; the last one has fewer, or none

    static Segments of(int64_t n_plus, int64_t n_minus, int64_t n_places) {
        const int64_t most = n_plus > n_minus ? n_plus : n_minus;
        const int64_t wanted = (most + segment_charges - 1) / segment_charges;
        const int count = static_cast<int>(wanted < most_segments ? wanted : most_segments);
        const auto part = [count](int64_t charges) { return static_cast<int>((charges + count - 1) / count); };
        return {count, part(n_plus), part(n_minus), part(n_places)};
    }

    EFM_HD static Segment at(int index, int length, int64_t charges) {
        const int64_t first = static_cast<int64_t>(index) * length, left = charges - first;
        return {first, static_cast<int>(left < 0 ? 0 : left < length ? left : length)};
    }
};

// The most charges of a plate whose segments have 32-bit offsets in up to 16 features.
constexpr int64_t most_plate_charges = most_segments << 27;

// The numbers that one segment gives for a line: n sums and their pivot, or the nearest charges of both plates.
EFM_HD inline int partial_width(int n) {
    return n + 1 > 5 ? n + 1 : 5;
}

}  // namespace efm
