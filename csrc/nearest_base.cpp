#include "vec_base.h"

#define EFM_NEAREST_KERNELS nearest_kernels_base
#include "nearest_kernel.h"
