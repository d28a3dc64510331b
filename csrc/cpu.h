// What the running processor offers, and the kernels compiled for it.
#pragma once

#include <string>

#include "direct.h"

namespace efm {

// The best direct kernels the processor can run; EFM_FAST_ISA=base|avx2|avx512 asks for lesser ones.
const DirectKernels& direct_kernels();

// Instruction set in use, as `efm-fast info` shows it.
std::string instruction_set();

}  // namespace efm
