#include "simd/vec_avx512.h"

#define EFM_NEAREST_KERNELS nearest_kernels_avx512
#include "lines/nearest_kernel.h"
