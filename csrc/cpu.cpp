#include "cpu.h"

#include <cstdlib>
#include <cstring>

namespace efm {
namespace {

const DirectKernels& choose() {
#if defined(EFM_FAST_X86)
    const char* wish = std::getenv("EFM_FAST_ISA");
    const auto allowed = [wish](const char* name) { return !wish || std::strcmp(wish, name) == 0; };
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
    if (avx512 && allowed("avx512")) return direct_kernels_avx512();
    if (avx2 && allowed("avx2")) return direct_kernels_avx2();
#endif
    return direct_kernels_base();
}

}  // namespace

const DirectKernels& direct_kernels() {
    static const DirectKernels& kernels = choose();
    return kernels;
}

std::string instruction_set() { return direct_kernels().name; }

}  // namespace efm
