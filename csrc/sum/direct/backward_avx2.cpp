#include "simd/vec_avx2.h"

#define EFM_BACKWARD_KERNELS backward_kernels_avx2
#include "sum/direct/backward_kernel.h"
