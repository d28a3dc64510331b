// Makes a device current for the duration of a call, and reports errors of CUDA.
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

    // The error message of CUDA; empty if the device exists and the last launch succeeded.
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
