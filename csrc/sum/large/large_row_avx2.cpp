#include "simd/vec_avx2.h"

#define EFM_ROW_KERNELS row_kernels_avx2
#include "sum/large/large_row_kernel.h"
