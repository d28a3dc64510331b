#include "simd/vec_base.h"

#define EFM_DIRECT_KERNELS direct_kernels_base
#define EFM_DIRECT_NAME "base"
#include "sum/direct/direct_kernel.h"
