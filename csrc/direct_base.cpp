#include "vec_base.h"

#define EFM_DIRECT_KERNELS direct_kernels_base
#define EFM_DIRECT_NAME "base"
#include "direct_kernel.h"
