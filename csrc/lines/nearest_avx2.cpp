#include "simd/vec_avx2.h"

#define EFM_NEAREST_KERNELS nearest_kernels_avx2
#include "lines/nearest_kernel.h"
