// Kernels are compiled once per instruction set, and the program chooses one when it runs.
//
// A kernel needs three files: a header with a struct of function pointers and EFM_KERNELS_PER_SET(struct), a unit
// *_kernel.cpp that includes simd/vectors.h and defines EFM_KERNELS(struct), and a caller of best_kernels<struct>().
// Everything else in such a unit, and in the headers that it shares with others, has internal linkage or is a plain
// record. The linker keeps only one copy of an inline function with external linkage, and that copy could be the one
// compiled for AVX-512.
#pragma once

namespace efm {

enum class InstructionSet : int { base, avx2, avx512, bf16, amx };

// The best set that the processor supports, or a lower one that EFM_FAST_ISA=base|avx2|avx512|bf16|amx names.
InstructionSet instruction_set();

// Its name, as `efm-fast info` shows it.
const char* instruction_set_name();

// The kernels of one set.
template <class Kernels, InstructionSet set>
const Kernels& compiled_kernels();

#define EFM_KERNELS_PER_SET(Kernels)                                   \
    template <>                                                        \
    const Kernels& compiled_kernels<Kernels, InstructionSet::base>();  \
    template <>                                                        \
    const Kernels& compiled_kernels<Kernels, InstructionSet::avx2>();  \
    template <>                                                        \
    const Kernels& compiled_kernels<Kernels, InstructionSet::avx512>();

#define EFM_KERNELS(Kernels) \
    template <>              \
    const Kernels& compiled_kernels<Kernels, InstructionSet::EFM_SET>()

// The kernels of the best set.
template <class Kernels>
const Kernels& best_kernels() {
#if defined(EFM_FAST_X86)
    if (instruction_set() >= InstructionSet::avx512) return compiled_kernels<Kernels, InstructionSet::avx512>();
    if (instruction_set() == InstructionSet::avx2) return compiled_kernels<Kernels, InstructionSet::avx2>();
#endif
    return compiled_kernels<Kernels, InstructionSet::base>();
}

}  // namespace efm
