// Scalar helpers that every instruction-set unit compiles for itself. Internal linkage throughout: a unit
// compiled for AVX-512 must not lend its code to the rest of the program.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace {

// Subnormal weights cost a factor of ten and carry nothing: flush them while a kernel runs.
struct FlushSubnormals {
#if defined(__x86_64__)
    unsigned saved = _mm_getcsr();
    FlushSubnormals() { _mm_setcsr(saved | 0x8040u); }
    ~FlushSubnormals() { _mm_setcsr(saved); }
#elif defined(__aarch64__)
    uint64_t saved;
    FlushSubnormals() {
        asm volatile("mrs %0, fpcr" : "=r"(saved));
        uint64_t flushed = saved | (uint64_t{1} << 24);
        asm volatile("msr fpcr, %0" : : "r"(flushed));
    }
    ~FlushSubnormals() { asm volatile("msr fpcr, %0" : : "r"(saved)); }
#else
    FlushSubnormals() {}
#endif
};

}  // namespace
