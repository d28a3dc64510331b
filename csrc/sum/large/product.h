// Matrix products with each float split into two bfloat16, hi hi + hi lo + lo hi in float sums: on AMX tiles, or by
// AVX-512's dot products of bfloat16 on processors without them.
//
// Operands are packed into panels of 32 rows (A) or 32 columns (B). A panel holds, for each step of 32 along
// the summed index, four tiles of 1 KiB: two hi, then two lo.
#pragma once

#include <cstdint>

namespace efm {

constexpr int panel_size = 32;         // rows of an A panel, columns of a B panel
constexpr int step_size = 32;          // summed indices of one step
constexpr int step_words = 2048;  // uint16 of one step of one panel

struct ProductKernels {
    bool (*enable)();  // asks the system for the tiles; false if it refuses
    void (*begin)();   // before a thread's first product
    void (*end)();     // after its last

    // out[32][32] = sum over the listed steps of A times B; `exact_b`: B's lo tiles are zero and are skipped
    void (*multiply)(const uint16_t* a, const uint16_t* b, const int* steps, int count, bool exact_b, float* out);

    // the same of the hi tiles alone
    void (*multiply_hi)(const uint16_t* a, const uint16_t* b, int count, float* out);

    // `sign` times 32 rows (null: zeros) of `count` <= 32 numbers, into one step of an A panel
    void (*pack_a)(const float* const* rows, int count, float sign, uint16_t* out);
    // 32 such rows, less the centre, into one step of a B panel: of one whose columns they are, or of one whose
    // summed index they are. `exact`: the lo tiles would be zero and are left alone.
    void (*pack_columns)(const float* const* rows, const float* centre, int count, bool exact, uint16_t* out);
    void (*pack_sums)(const float* const* rows, const float* centre, int count, bool exact, uint16_t* out);
    // |row - centre|^2 over `count` features, few enough for sums in float
    float (*square)(const float* row, const float* centre, int64_t count);
    // target[r][c] += block[r][c], or = if it is the first, rows x columns of the [32][32] block
    void (*accumulate)(float* target, int64_t stride, const float* block, int rows, int columns, bool first);
};

const ProductKernels& product_kernels();

struct TileSession {
    TileSession() { product_kernels().begin(); }
    ~TileSession() { product_kernels().end(); }
};

}  // namespace efm
