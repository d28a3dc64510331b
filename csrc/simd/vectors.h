// F32 and F64, the vectors of the instruction set that a kernel unit is compiled for. The build defines EFM_SET as the
// name of the set, for every set in instruction_sets.txt.
#pragma once

#define EFM_VECTOR_NAME(text) #text
#define EFM_VECTOR_FILE(set) EFM_VECTOR_NAME(simd/vec_##set.h)
#define EFM_VECTORS_OF(set) EFM_VECTOR_FILE(set)
#include EFM_VECTORS_OF(EFM_SET)
