#include "vec_avx512.h"

#define EFM_BACKWARD_KERNELS backward_kernels_avx512
#include "backward_kernel.h"
