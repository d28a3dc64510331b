// The device of a call made current while it lasts, and what CUDA said of it.
#pragma once

#include <cuda_runtime.h>

#include <string>

namespace efm::cuda {

class DeviceGuard {
public:
    explicit DeviceGuard(int device) {
        status_ = cudaGetDevice(&before_);
        if (status_ == cudaSuccess) status_ = cudaSetDevice(device);
    }
    ~DeviceGuard() { cudaSetDevice(before_); }
    DeviceGuard(const DeviceGuard&) = delete;

    // Empty if the device is there and the last launch was taken.
    std::string problem() {
        const cudaError_t launched = cudaGetLastError();
        const cudaError_t first = status_ != cudaSuccess ? status_ : launched;
        return first == cudaSuccess ? "" : std::string("CUDA: ") + cudaGetErrorString(first);
    }
    bool ready() const { return status_ == cudaSuccess; }

private:
    int before_ = 0;
    cudaError_t status_;
};

}  // namespace efm::cuda
