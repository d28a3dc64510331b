#include "simd/vec_avx512.h"

#define EFM_BACKWARD_KERNELS backward_kernels_avx512
#include "sum/direct/backward_kernel.h"
