#include "vec_base.h"

#define EFM_BACKWARD_KERNELS backward_kernels_base
#include "backward_kernel.h"
