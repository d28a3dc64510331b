#include "simd/dispatch.h"

#include <cstdlib>
#include <cstring>

#if defined(EFM_FAST_X86)
#include <cpuid.h>
#endif

namespace efm {
namespace {

constexpr const char* names[] = {"base", "avx2", "avx512", "bf16", "amx"};

InstructionSet supported() {
#if defined(EFM_FAST_X86)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return InstructionSet::base;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl"))
        return InstructionSet::avx2;
    unsigned a, b, c, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return InstructionSet::avx512;
    const bool tiles = (d >> 24) & 1, bfloat16 = (d >> 22) & 1;
    unsigned a1 = 0;
    const bool conversions = __get_cpuid_count(7, 1, &a1, &b, &c, &d) && ((a1 >> 5) & 1);
    if (!conversions) return InstructionSet::avx512;
    return tiles && bfloat16 ? InstructionSet::amx : InstructionSet::bf16;
#else
    return InstructionSet::base;
#endif
}

}  // namespace

InstructionSet instruction_set() {
    static const InstructionSet chosen = [] {
        const InstructionSet best = supported();
        const char* wish = std::getenv("EFM_FAST_ISA");
        for (int i = 0; wish && i < static_cast<int>(best); ++i)
            if (std::strcmp(wish, names[i]) == 0) return static_cast<InstructionSet>(i);
        return best;
    }();
    return chosen;
}

const char* instruction_set_name() {
    constexpr const char* shown[] = {"base", "avx2", "avx512", "avx512 and bf16", "avx512 and amx"};
    return shown[static_cast<int>(instruction_set())];
}

}  // namespace efm
