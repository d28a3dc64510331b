#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "amx.h"

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
    // the intrinsic names only its first bytes as read: keep the stores to the others
    asm volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
}

void end() { _tile_release(); }

#define EFM_FOUR_PRODUCTS        \
    _tile_dpbf16ps(0, 4, 6);     \
    _tile_dpbf16ps(1, 4, 7);     \
    _tile_dpbf16ps(2, 5, 6);     \
    _tile_dpbf16ps(3, 5, 7);

void multiply(const uint16_t* a, const uint16_t* b, const int* steps, int count, bool exact_b, float* out) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < count; ++i) {
        const uint16_t* ak = a + static_cast<int64_t>(steps[i]) * amx_step_words;
        const uint16_t* bk = b + static_cast<int64_t>(steps[i]) * amx_step_words;
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
    _tile_stored(0, out, 128);
    _tile_stored(1, out + 16, 128);
    _tile_stored(2, out + 512, 128);
    _tile_stored(3, out + 528, 128);
}

// 16 floats as bfloat16 in the low halves of 32-bit lanes: rounded to nearest, and the rest
inline void split(__m512 value, __m512i* hi, __m512i* lo) {
    const auto round = [](__m512 f) {
        const __m512i bits = _mm512_castps_si512(f);
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        return _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
    };
    *hi = round(value);
    *lo = round(_mm512_sub_ps(value, _mm512_castsi512_ps(_mm512_slli_epi32(*hi, 16))));
}

inline __m512 load_row(const float* row, int from, int count) {
    if (!row || from >= count) return _mm512_setzero_ps();
    const __mmask16 mask = count - from >= 16 ? 0xffff : static_cast<__mmask16>((1u << (count - from)) - 1);
    return _mm512_maskz_loadu_ps(mask, row + from);
}

void pack_a(const float* const* rows, int count, float sign, uint16_t* out) {
    for (int r = 0; r < 32; ++r) {
        uint16_t* hi_row = out + (r / 16) * 512 + (r % 16) * 32;
        for (int half = 0; half < 2; ++half) {
            __m512i hi, lo;
            split(_mm512_mul_ps(load_row(rows[r], 16 * half, count), _mm512_set1_ps(sign)), &hi, &lo);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(hi_row + 16 * half), _mm512_cvtepi32_epi16(hi));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(hi_row + 1024 + 16 * half), _mm512_cvtepi32_epi16(lo));
        }
    }
}

// [16][16] 32-bit transpose
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

void pack_b(const float* const* rows, int count, uint16_t* out) {
    for (int tile = 0; tile < 2; ++tile) {
        __m512i hi[16], lo[16];
        for (int c = 0; c < 16; ++c) {
            __m512i h[2], l[2];
            for (int half = 0; half < 2; ++half)
                split(load_row(rows[16 * tile + c], 16 * half, count), &h[half], &l[half]);
            hi[c] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(h[0])),
                                       _mm512_cvtepi32_epi16(h[1]), 1);
            lo[c] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(l[0])),
                                       _mm512_cvtepi32_epi16(l[1]), 1);
        }
        transpose(hi);
        transpose(lo);
        for (int r = 0; r < 16; ++r) {
            _mm512_storeu_si512(out + tile * 512 + r * 32, hi[r]);
            _mm512_storeu_si512(out + 1024 + tile * 512 + r * 32, lo[r]);
        }
    }
}

void pack_b_rows(const float* const* rows, int count, uint16_t* out) {
    for (int tile = 0; tile < 2; ++tile) {
        for (int r = 0; r < 16; ++r) {
            __m512i h[2], l[2];
            for (int i = 0; i < 2; ++i) split(load_row(rows[2 * r + i], 16 * tile, count), &h[i], &l[i]);
            const __m512i hi = _mm512_or_si512(h[0], _mm512_slli_epi32(h[1], 16));
            const __m512i lo = _mm512_or_si512(l[0], _mm512_slli_epi32(l[1], 16));
            _mm512_storeu_si512(out + tile * 512 + r * 32, hi);
            _mm512_storeu_si512(out + 1024 + tile * 512 + r * 32, lo);
        }
    }
}

void accumulate(float* target, int64_t stride, const float* block, int rows, int columns, float sign, bool first) {
    const __m512 s = _mm512_set1_ps(sign);
    for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < columns; c += 16) {
            const int left = columns - c;
            const __mmask16 mask = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
            float* p = target + r * stride + c;
            const __m512 old = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, p);
            _mm512_mask_storeu_ps(p, mask, _mm512_fmadd_ps(s, _mm512_loadu_ps(block + r * 32 + c), old));
        }
    }
}

}  // namespace

namespace efm {

const AmxKernels& amx_kernels() {
    static const AmxKernels kernels{enable, begin, end, multiply, pack_a, pack_b, pack_b_rows, accumulate};
    return kernels;
}

}  // namespace efm
