// Helpers that the unit of every instruction set compiles for itself. All have internal linkage, so that the linker cannot
// use code compiled for AVX-512 in the rest of the program.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace {

// Flushes subnormal numbers to 0 while a kernel runs. Subnormal weights slow it down ten times and add nothing to a sum.
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
