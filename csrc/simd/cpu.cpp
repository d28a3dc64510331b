#include "simd/cpu.h"

#include <cstdlib>
#include <cstring>

#if defined(EFM_FAST_X86)
#include <cpuid.h>
#endif

namespace efm {
namespace {

enum Level { base, avx2, avx512, bf16, amx };

Level supported() {
#if defined(EFM_FAST_X86)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return base;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl"))
        return avx2;
    unsigned a, b, c, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return avx512;
    const bool tiles = (d >> 24) & 1, bfloat16 = (d >> 22) & 1;
    unsigned a1 = 0;
    const bool conversions = __get_cpuid_count(7, 1, &a1, &b, &c, &d) && ((a1 >> 5) & 1);
    return !conversions ? avx512 : tiles && bfloat16 ? amx : bf16;
#else
    return base;
#endif
}

Level level() {
    static const Level chosen = [] {
        const Level best = supported();
        const char* wish = std::getenv("EFM_FAST_ISA");
        const char* names[] = {"base", "avx2", "avx512", "bf16", "amx"};
        for (int i = 0; wish && i < best; ++i)
            if (std::strcmp(wish, names[i]) == 0) return static_cast<Level>(i);
        return best;
    }();
    return chosen;
}

}  // namespace

const DirectKernels& direct_kernels() {
#if defined(EFM_FAST_X86)
    if (level() >= avx512) return direct_kernels_avx512();
    if (level() == avx2) return direct_kernels_avx2();
#endif
    return direct_kernels_base();
}

const BackwardKernels& backward_kernels() {
#if defined(EFM_FAST_X86)
    if (level() >= avx512) return backward_kernels_avx512();
    if (level() == avx2) return backward_kernels_avx2();
#endif
    return backward_kernels_base();
}

const RowKernels& row_kernels() {
#if defined(EFM_FAST_X86)
    if (level() >= avx512) return row_kernels_avx512();
    if (level() == avx2) return row_kernels_avx2();
#endif
    return row_kernels_base();
}

const NearestKernels& nearest_kernels() {
#if defined(EFM_FAST_X86)
    if (level() >= avx512) return nearest_kernels_avx512();
    if (level() == avx2) return nearest_kernels_avx2();
#endif
    return nearest_kernels_base();
}

bool cpu_has_amx() { return level() == amx; }

bool cpu_has_bfloat16() { return level() >= bf16; }

std::string instruction_set() {
    const std::string name = direct_kernels().name;
    return cpu_has_amx() ? name + " and amx" : cpu_has_bfloat16() ? name + " and bf16" : name;
}

}  // namespace efm
