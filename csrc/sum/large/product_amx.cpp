#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "simd/dispatch.h"
#include "sum/large/product.h"

namespace {

using namespace efm;

struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t column_bytes[16] = {};
    uint8_t rows[16] = {};
};

bool enable() {
    constexpr long request_permission = 0x1023, tile_data = 18;
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

void begin() {
    TileConfig config;
    for (int i = 0; i < 8; ++i) {
        config.column_bytes[i] = 64;
        config.rows[i] = 16;
    }
    // The intrinsic declares only the first bytes as read; without this the compiler may drop the other stores.
    asm volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
}

void end() { _tile_release(); }

#define EFM_FOUR_PRODUCTS        \
    _tile_dpbf16ps(0, 4, 6);     \
    _tile_dpbf16ps(1, 4, 7);     \
    _tile_dpbf16ps(2, 5, 6);     \
    _tile_dpbf16ps(3, 5, 7);

inline void store_block(float* out) {
    _tile_stored(0, out, 128);
    _tile_stored(1, out + 16, 128);
    _tile_stored(2, out + 512, 128);
    _tile_stored(3, out + 528, 128);
}

void multiply(const uint16_t* a, const uint16_t* b, const int* steps, int count, bool exact_b, float* out) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < count; ++i) {
        const uint16_t* ak = a + static_cast<int64_t>(steps[i]) * step_words;
        const uint16_t* bk = b + static_cast<int64_t>(steps[i]) * step_words;
        _tile_loadd(6, bk, 64);
        _tile_loadd(7, bk + 512, 64);
        _tile_loadd(4, ak + 1024, 64);
        _tile_loadd(5, ak + 1536, 64);
        EFM_FOUR_PRODUCTS
        _tile_loadd(4, ak, 64);
        _tile_loadd(5, ak + 512, 64);
        EFM_FOUR_PRODUCTS
        if (!exact_b) {
            _tile_loadd(6, bk + 1024, 64);
            _tile_loadd(7, bk + 1536, 64);
            EFM_FOUR_PRODUCTS
        }
    }
    store_block(out);
}

void multiply_hi(const uint16_t* a, const uint16_t* b, int count, float* out) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < count; ++i, a += step_words, b += step_words) {
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + 512, 64);
        _tile_loadd(4, a, 64);
        _tile_loadd(5, a + 512, 64);
        EFM_FOUR_PRODUCTS
    }
    store_block(out);
}

// The same products by AVX-512. A pair of numbers of a row of A, in all lanes, is multiplied by the pairs of 16 columns of B.
constexpr int some_rows = 8;

struct RowSums {
    __m512 columns[some_rows][2];

    void add(const uint16_t* a, const uint16_t* b) {
        for (int pair = 0; pair < 16; ++pair) {
            const __m512bh first = (__m512bh)_mm512_loadu_si512(b + pair * 32);
            const __m512bh second = (__m512bh)_mm512_loadu_si512(b + 512 + pair * 32);
            for (int r = 0; r < some_rows; ++r) {
                int32_t both;
                __builtin_memcpy(&both, a + r * 32 + 2 * pair, 4);
                const __m512bh row = (__m512bh)_mm512_set1_epi32(both);
                columns[r][0] = _mm512_dpbf16_ps(columns[r][0], row, first);
                columns[r][1] = _mm512_dpbf16_ps(columns[r][1], row, second);
            }
        }
    }

    void store(float* out) const {
        for (int r = 0; r < some_rows; ++r)
            for (int half = 0; half < 2; ++half) _mm512_storeu_ps(out + r * 32 + half * 16, columns[r][half]);
    }
};

bool nothing_to_enable() { return true; }
void nothing_to_do() {}

// Calls add(sums, offset) for every some_rows rows of the block; offset is where they start in a step of A.
template <class F>
void by_rows(float* out, F&& add) {
    for (int r = 0; r < 32; r += some_rows) {
        RowSums sums{};
        add(sums, r * 32);
        sums.store(out + r * 32);
    }
}

void multiply_avx512(const uint16_t* a, const uint16_t* b, const int* steps, int count, bool exact_b, float* out) {
    by_rows(out, [&](RowSums& sums, int rows) {
        for (int i = 0; i < count; ++i) {
            const uint16_t* ak = a + static_cast<int64_t>(steps[i]) * step_words + rows;
            const uint16_t* bk = b + static_cast<int64_t>(steps[i]) * step_words;
            sums.add(ak + 1024, bk);
            sums.add(ak, bk);
            if (!exact_b) sums.add(ak, bk + 1024);
        }
    });
}

void multiply_hi_avx512(const uint16_t* a, const uint16_t* b, int count, float* out) {
    by_rows(out, [&](RowSums& sums, int rows) {
        for (int i = 0; i < count; ++i) sums.add(a + i * step_words + rows, b + i * step_words);
    });
}

inline __m512 widen(__m256i bfloat16) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bfloat16), 16));
}

// Splits 32 floats into the nearest bfloat16, hi, and the rest rounded to bfloat16, lo.
inline void split(__m512 first, __m512 second, __m512i* hi, __m512i* lo) {
    *hi = (__m512i)_mm512_cvtne2ps_pbh(second, first);
    const __m512 rest_first = _mm512_sub_ps(first, widen(_mm512_castsi512_si256(*hi)));
    const __m512 rest_second = _mm512_sub_ps(second, widen(_mm512_extracti64x4_epi64(*hi, 1)));
    *lo = (__m512i)_mm512_cvtne2ps_pbh(rest_second, rest_first);
}

inline __m512 load_row(const float* row, int from, int count) {
    if (!row || from >= count) return _mm512_setzero_ps();
    const __mmask16 mask = count - from >= 16 ? 0xffff : static_cast<__mmask16>((1u << (count - from)) - 1);
    return _mm512_maskz_loadu_ps(mask, row + from);
}

void pack_a(const float* const* rows, int count, float sign, uint16_t* out) {
    const __m512 factor = _mm512_set1_ps(sign);
    for (int r = 0; r < 32; ++r) {
        __m512i hi, lo;
        split(_mm512_mul_ps(load_row(rows[r], 0, count), factor), _mm512_mul_ps(load_row(rows[r], 16, count), factor),
              &hi, &lo);
        uint16_t* row = out + (r / 16) * 512 + (r % 16) * 32;
        _mm512_storeu_si512(row, hi);
        _mm512_storeu_si512(row + 1024, lo);
    }
}

// Transposes [16][16] numbers of 32 bits.
inline void transpose(__m512i* r) {
    __m512i t[16];
    for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; ++i) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

// Stores 32 rows of 32 bfloat16 that are the columns of B, as [index pair][column]; a pair takes 32 bits.
void store_columns(const __m512i* rows, uint16_t* out) {
    for (int tile = 0; tile < 2; ++tile) {
        __m512i block[16];
        for (int c = 0; c < 16; ++c) block[c] = rows[16 * tile + c];
        transpose(block);
        for (int r = 0; r < 16; ++r) _mm512_storeu_si512(out + tile * 512 + r * 32, block[r]);
    }
}

// Stores 32 rows of 32 bfloat16 that are the summed index of B: neighbouring rows are interleaved.
void store_rows(const __m512i* rows, uint16_t* out) {
    alignas(64) uint16_t order[2][32];
    for (int i = 0; i < 32; ++i) {
        order[0][i] = static_cast<uint16_t>(i / 2 + 32 * (i % 2));
        order[1][i] = static_cast<uint16_t>(16 + i / 2 + 32 * (i % 2));
    }
    const __m512i first = _mm512_load_si512(order[0]), second = _mm512_load_si512(order[1]);
    for (int r = 0; r < 16; ++r) {
        _mm512_storeu_si512(out + r * 32, _mm512_permutex2var_epi16(rows[2 * r], first, rows[2 * r + 1]));
        _mm512_storeu_si512(out + 512 + r * 32, _mm512_permutex2var_epi16(rows[2 * r], second, rows[2 * r + 1]));
    }
}

// Splits 32 rows less the centre into hi and lo.
inline void split_rows(const float* const* rows, const float* centre, int count, __m512i* hi, __m512i* lo) {
    const __m512 first = load_row(centre, 0, count), second = load_row(centre, 16, count);
    for (int r = 0; r < 32; ++r) {
        if (rows[r]) {
            split(_mm512_sub_ps(load_row(rows[r], 0, count), first),
                  _mm512_sub_ps(load_row(rows[r], 16, count), second), &hi[r], &lo[r]);
        } else {
            hi[r] = lo[r] = _mm512_setzero_si512();
        }
    }
}

void pack_columns(const float* const* rows, const float* centre, int count, bool exact, uint16_t* out) {
    __m512i hi[32], lo[32];
    split_rows(rows, centre, count, hi, lo);
    store_columns(hi, out);
    if (!exact) store_columns(lo, out + 1024);
}

void pack_sums(const float* const* rows, const float* centre, int count, bool exact, uint16_t* out) {
    __m512i hi[32], lo[32];
    split_rows(rows, centre, count, hi, lo);
    store_rows(hi, out);
    if (!exact) store_rows(lo, out + 1024);
}

float square(const float* row, const float* centre, int64_t count) {
    __m512 even = _mm512_setzero_ps(), odd = even;
    for (int64_t k = 0; k < count; k += 32) {
        const int left = static_cast<int>(count - k);
        const __m512 a = _mm512_sub_ps(load_row(row + k, 0, left), load_row(centre + k, 0, left));
        const __m512 b = _mm512_sub_ps(load_row(row + k, 16, left), load_row(centre + k, 16, left));
        even = _mm512_fmadd_ps(a, a, even);
        odd = _mm512_fmadd_ps(b, b, odd);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

void accumulate(float* target, int64_t stride, const float* block, int rows, int columns, bool first) {
    for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < columns; c += 16) {
            const int left = columns - c;
            const __mmask16 mask = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
            float* p = target + r * stride + c;
            const __m512 old = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, p);
            _mm512_mask_storeu_ps(p, mask, _mm512_add_ps(_mm512_loadu_ps(block + r * 32 + c), old));
        }
    }
}

}  // namespace

namespace efm {

const ProductKernels& product_kernels() {
    static const ProductKernels tiles{enable,       begin,     end,    multiply,  multiply_hi, pack_a,
                                  pack_columns, pack_sums, square, accumulate};
    static const ProductKernels vectors{nothing_to_enable,  nothing_to_do, nothing_to_do, multiply_avx512,
                                    multiply_hi_avx512, pack_a,        pack_columns,  pack_sums,
                                    square,             accumulate};
    static const bool has_tiles = instruction_set() == InstructionSet::amx && enable();
    return has_tiles ? tiles : vectors;
}

}  // namespace efm
