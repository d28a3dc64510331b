#include "vec_avx2.h"

#define EFM_ROW_KERNELS row_kernels_avx2
#include "rows_kernel.h"
