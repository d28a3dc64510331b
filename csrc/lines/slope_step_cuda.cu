// One block per sample. Its first pass computes the length of the lateral field, its second moves the sample.
#include "lines/slope_step_cuda.h"

#include "lines/device_guard.h"

namespace efm::cuda {
namespace {

constexpr int threads = 128, warps = threads / 32;

template <class Update>
__global__ void __launch_bounds__(threads) step(StepRows rows, Update update) {
    __shared__ float partial[warps];
    const int64_t row = blockIdx.x;
    const int d = rows.d;
    float square = 0.0f;
    for (int k = threadIdx.x; k < d; k += threads) {
        const float part = update.lateral(row, k, d);
        square = fmaf(part, part, square);
    }
#pragma unroll
    for (int step = 16; step; step >>= 1) square += __shfl_xor_sync(0xffffffffu, square, step);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = square;
    __syncthreads();
    square = 0.0f;
    for (int w = 0; w < warps; ++w) square += partial[w];
    const float scale = rows.scale * slope_scale(sqrtf(square), update.axial(row, d), rows.steepest);
    for (int k = threadIdx.x; k < d; k += threads)
        rows.out[row * d + k] = rows.base[row * d + k] + scale * update.lateral(row, k, d);
}

template <class Update>
std::string launch(const StepRows& rows, const Update& update, int device, std::uintptr_t stream) {
    if (rows.count == 0) return "";
    if (rows.count > INT32_MAX) return "more than 2^31 - 1 samples";
    DeviceGuard guard(device);
    if (!guard.ready()) return guard.problem();
    const auto on = reinterpret_cast<cudaStream_t>(stream);
    step<<<static_cast<unsigned>(rows.count), threads, 0, on>>>(rows, update);
    return guard.problem();
}

}  // namespace

std::string slope_step(const StepRows& rows, const SlopeOfDirection& update, int device, std::uintptr_t stream) {
    return launch(rows, update, device, stream);
}

std::string slope_step(const StepRows& rows, const SlopeOfMeans& update, int device, std::uintptr_t stream) {
    return launch(rows, update, device, stream);
}

}  // namespace efm::cuda
