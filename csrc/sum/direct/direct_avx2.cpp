#include "simd/vec_avx2.h"

#define EFM_DIRECT_KERNELS direct_kernels_avx2
#define EFM_DIRECT_NAME "avx2"
#include "sum/direct/direct_kernel.h"
