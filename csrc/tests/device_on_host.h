// Runs kernels on the host. Every thread of a block is a thread, __syncthreads and shuffles are barriers, and the blocks of a
// launch follow each other. ThreadSanitizer sees a missing barrier. Include it before the kernels.
#pragma once

#include <math.h>
#include <pthread.h>

#include <cstring>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __grid_constant__
#define __shared__ static
#define __launch_bounds__(...)

namespace efm::cuda {

struct Index {
    unsigned x;
};
inline thread_local Index threadIdx, blockIdx;
constexpr int host_threads = 128, host_lanes = 32;

class Barrier {
public:
    explicit Barrier(unsigned count) { pthread_barrier_init(&barrier_, nullptr, count); }
    ~Barrier() { pthread_barrier_destroy(&barrier_); }
    Barrier(const Barrier&) = delete;
    void wait() { pthread_barrier_wait(&barrier_); }

private:
    pthread_barrier_t barrier_;
};

// Values that the lanes of a warp exchange; two rows, so that one barrier per exchange is enough.
struct Warp {
    Barrier barrier{host_lanes};
    char values[2][host_lanes][8];
};

inline Barrier block_barrier{host_threads};
inline Warp host_warps[host_threads / host_lanes];
inline thread_local int exchange = 0;

inline void __syncthreads() { block_barrier.wait(); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int step) {
    static_assert(sizeof(T) <= 8);
    Warp& warp = host_warps[threadIdx.x / host_lanes];
    const unsigned lane = threadIdx.x % host_lanes;
    auto& row = warp.values[exchange];
    exchange ^= 1;
    std::memcpy(row[lane], &value, sizeof(T));
    warp.barrier.wait();
    std::memcpy(&value, row[lane ^ step], sizeof(T));
    return value;
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

// kernel() is called by every thread of `blocks` blocks.
template <class Kernel>
void launch_on_host(int64_t blocks, const Kernel& kernel) {
    std::vector<std::thread> pool;
    for (int t = 0; t < host_threads; ++t)
        pool.emplace_back([&, t] {
            threadIdx.x = static_cast<unsigned>(t);
            for (int64_t block = 0; block < blocks; ++block) {
                blockIdx.x = static_cast<unsigned>(block);
                kernel();
                __syncthreads();
            }
        });
    for (std::thread& thread : pool) thread.join();
}

}  // namespace efm::cuda
