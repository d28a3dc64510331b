#include "simd/vec_base.h"

#define EFM_NEAREST_KERNELS nearest_kernels_base
#include "lines/nearest_kernel.h"
