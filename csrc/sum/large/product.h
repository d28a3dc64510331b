// Matrix products of floats, each split into two bfloat16: hi hi + hi lo + lo hi, summed in float. They use AMX tiles, or
// the bfloat16 dot products of AVX-512 on processors without AMX.
//
// Operands are packed into panels of 32 rows (A) or 32 columns (B). For each step of 32 along the summed index, a panel
// holds four tiles of 1 KiB: two hi, then two lo.
#pragma once

#include <cstdint>

namespace efm {

constexpr int panel_size = 32;         // rows of an A panel, columns of a B panel
constexpr int step_size = 32;          // summed indices of one step
constexpr int step_words = 2048;       // uint16 numbers in one step of one panel

struct ProductKernels {
    bool (*enable)();  // asks the system to permit the tiles; returns false if it refuses
    void (*begin)();   // called before a thread's first product
    void (*end)();     // called after its last

    // out[32][32] = sum over the listed steps of A times B; `exact_b` skips B's lo tiles, which would be zero
    void (*multiply)(const uint16_t* a, const uint16_t* b, const int* steps, int count, bool exact_b, float* out);

    // the same from the hi tiles alone, over the first `count` steps
    void (*multiply_hi)(const uint16_t* a, const uint16_t* b, int count, float* out);

    // Packs `sign` times 32 rows of `count` <= 32 numbers into one step of an A panel. A null row stands for zeros.
    void (*pack_a)(const float* const* rows, int count, float sign, uint16_t* out);
    // Both pack 32 such rows, less the centre, into one step of a B panel. The rows are the columns of B in pack_columns, and
    // its summed index in pack_sums. If `exact`, the lo tiles would be zero and are not written.
    void (*pack_columns)(const float* const* rows, const float* centre, int count, bool exact, uint16_t* out);
    void (*pack_sums)(const float* const* rows, const float* centre, int count, bool exact, uint16_t* out);
    // |row - centre|^2 over `count` features, few enough for sums in float
    float (*square)(const float* row, const float* centre, int64_t count);
    // target[r][c] += block[r][c] for rows x columns of the [32][32] block; = instead of += if `first`
    void (*accumulate)(float* target, int64_t stride, const float* block, int rows, int columns, bool first);
};

const ProductKernels& product_kernels();

struct TileSession {
    TileSession() { product_kernels().begin(); }
    ~TileSession() { product_kernels().end(); }
};

}  // namespace efm
