#include "simd/vec_base.h"

#define EFM_BACKWARD_KERNELS backward_kernels_base
#include "sum/direct/backward_kernel.h"
