#include "simd/vec_base.h"

#define EFM_ROW_KERNELS row_kernels_base
#include "sum/large/large_row_kernel.h"
