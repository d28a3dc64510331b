// Reads matrices of any supported element type.
#pragma once

#include <cstring>
#include <stdexcept>

#include "core/request.h"

namespace efm {

inline float half_to_float(uint16_t h) {
    // shift the exponent and the mantissa into place; the multiplication corrects the exponent's bias and the subnormals
    const uint32_t magnitude = static_cast<uint32_t>(h & 0x7fffu) << 13;
    uint32_t bits = magnitude;
    float value;
    std::memcpy(&value, &bits, 4);
    value *= 0x1p112f;
    std::memcpy(&bits, &value, 4);
    if (magnitude >= 0x0f800000u) bits = magnitude | 0x7f800000u;  // infinity and NaN
    bits |= static_cast<uint32_t>(h & 0x8000u) << 16;
    std::memcpy(&value, &bits, 4);
    return value;
}

struct Half {
    uint16_t bits;
    operator float() const { return half_to_float(bits); }
};

struct BFloat16 {
    uint16_t bits;
    operator float() const {
        const uint32_t wide = static_cast<uint32_t>(bits) << 16;
        float value;
        std::memcpy(&value, &wide, 4);
        return value;
    }
};

// Calls f with a pointer of the matrix's element type.
template <class F>
void with_elements(const Matrix& a, F&& f) {
    switch (a.dtype) {
        case Dtype::f32: return f(static_cast<const float*>(a.data));
        case Dtype::f64: return f(static_cast<const double*>(a.data));
        case Dtype::f16: return f(static_cast<const Half*>(a.data));
        case Dtype::bf16: return f(static_cast<const BFloat16*>(a.data));
        case Dtype::u8: return f(static_cast<const uint8_t*>(a.data));
        case Dtype::i8: return f(static_cast<const int8_t*>(a.data));
        case Dtype::i16: return f(static_cast<const int16_t*>(a.data));
        case Dtype::i32: return f(static_cast<const int32_t*>(a.data));
        case Dtype::i64: return f(static_cast<const int64_t*>(a.data));
    }
    throw std::invalid_argument("unknown element type");
}

// Reads `count` numbers of one row, from column `first` on, as T.
template <class T>
void read_part(const Matrix& a, int64_t row, int64_t first, int64_t count, T* out) {
    with_elements(a, [&](auto* data) {
        const auto* p = data + row * a.row_stride + first * a.col_stride;
        if (a.col_stride == 1)
            for (int64_t k = 0; k < count; ++k) out[k] = static_cast<T>(p[k]);
        else
            for (int64_t k = 0; k < count; ++k) out[k] = static_cast<T>(p[k * a.col_stride]);
    });
}

// Reads one row as T, [cols].
template <class T>
void read_row(const Matrix& a, int64_t row, T* out) {
    read_part(a, row, 0, a.cols, out);
}

}  // namespace efm
