#include "vec_base.h"

#define EFM_ROW_KERNELS row_kernels_base
#include "rows_kernel.h"
