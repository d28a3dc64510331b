#include "simd/vec_avx512.h"

#define EFM_ROW_KERNELS row_kernels_avx512
#include "sum/large/large_row_kernel.h"
