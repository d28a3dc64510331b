// Matrix products on AMX tiles with each float split into two bfloat16: hi hi + hi lo + lo hi, float sums.
//
// Operands are packed into panels of 32 rows (A) or 32 columns (B). A panel holds, for each step of 32 along
// the summed index, four tiles of 1 KiB: two hi, then two lo.
#pragma once

#include <cstdint>

namespace efm {

constexpr int amx_panel = 32;         // rows of an A panel, columns of a B panel
constexpr int amx_step = 32;          // summed indices of one step
constexpr int amx_step_words = 2048;  // uint16 of one step of one panel

struct AmxKernels {
    bool (*enable)();  // asks the system for the tiles; false if it refuses
    void (*begin)();   // before a thread's first product
    void (*end)();     // after its last

    // out[32][32] = sum over the listed steps of A times B; `exact_b`: B's lo tiles are zero and are skipped
    void (*multiply)(const uint16_t* a, const uint16_t* b, const int* steps, int count, bool exact_b, float* out);

    // `sign` times 32 rows (null: zeros) of `count` <= 32 numbers, into one step of an A panel
    void (*pack_a)(const float* const* rows, int count, float sign, uint16_t* out);
    // 32 such rows into one step of two B panels: of one whose columns they are, and of one whose summed
    // index they are
    void (*pack_b)(const float* const* rows, int count, uint16_t* as_columns, uint16_t* as_sums);
    // target[r][c] += sign * block[r][c], rows x columns of the [32][32] block
    void (*accumulate)(float* target, int64_t stride, const float* block, int rows, int columns, float sign,
                       bool first);
};

const AmxKernels& amx_kernels();

}  // namespace efm
