// What the running processor offers, and the kernels compiled for it.
#pragma once

#include <string>

#include "sum/direct/backward.h"
#include "sum/direct/direct.h"
#include "lines/nearest.h"
#include "sum/large/large_row.h"

namespace efm {

// The best direct kernels the processor can run; EFM_FAST_ISA=base|avx2|avx512|amx asks for lesser ones.
const DirectKernels& direct_kernels();

// The backward kernels of the same instruction set.
const BackwardKernels& backward_kernels();

// The row kernels of the same instruction set.
const RowKernels& row_kernels();

// The search for the nearest charges in the same instruction set.
const NearestKernels& nearest_kernels();

// True where the processor has AMX tiles for bfloat16 and EFM_FAST_ISA does not ask for less.
bool cpu_has_amx();

// Whether the processor multiplies bfloat16, by AMX tiles or by AVX-512.
bool cpu_has_bfloat16();

// Instruction set in use, as `efm-fast info` shows it.
std::string instruction_set();

}  // namespace efm
