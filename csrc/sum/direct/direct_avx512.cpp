#include "simd/vec_avx512.h"

#define EFM_DIRECT_KERNELS direct_kernels_avx512
#define EFM_DIRECT_NAME "avx512"
#include "sum/direct/direct_kernel.h"
