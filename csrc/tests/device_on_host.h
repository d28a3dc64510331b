// Runs kernels on the host. Every thread of a block is a fiber; the fibers take turns at barriers, which __syncthreads and
// shuffles are, and the blocks of a launch follow each other. With the order of the fibers reversed, a missing barrier shows
// as another result. Include it before the kernels.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <ucontext.h>

#include <cstring>
#include <functional>
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
inline Index threadIdx, blockIdx;
constexpr int host_threads = 128, host_lanes = 32;

class Fibers {
public:
    bool reversed = false;

    // Calls kernel() in every thread of `blocks` blocks.
    void launch(int64_t blocks, const std::function<void()>& kernel) {
        kernel_ = &kernel;
        blocks_ = blocks;
        left_ = host_threads;
        stacks_.resize(host_threads * stack_bytes);
        for (int t = 0; t < host_threads; ++t) {
            Fiber& fiber = fibers_[t];
            fiber.started = fiber.done = false;
            fiber.block = 0;
            getcontext(&fiber.entry);
            fiber.entry.uc_stack.ss_sp = stacks_.data() + t * stack_bytes;
            fiber.entry.uc_stack.ss_size = stack_bytes;
            makecontext(&fiber.entry, &Fibers::enter, 0);
        }
        if (_setjmp(home_) == 0) run(reversed ? host_threads - 1 : 0);
    }

    // Lets the next thread go on.
    void yield() {
        if (_setjmp(fibers_[current_].at) == 0) run(next());
    }

private:
    struct Fiber {
        ucontext_t entry;
        jmp_buf at;
        bool started, done;
        int64_t block;
    };
    static constexpr int stack_bytes = 1 << 16;

    static void enter();

    void body() {
        for (int64_t block = 0; block < blocks_; ++block) {
            fibers_[current_].block = block;
            blockIdx.x = static_cast<unsigned>(block);
            (*kernel_)();
            wait_for_block();
        }
        fibers_[current_].done = true;
        if (--left_ == 0) _longjmp(home_, 1);
        run(next());
    }

    void wait_for_block();

    int next() const {
        int t = current_;
        do t = (t + (reversed ? host_threads - 1 : 1)) % host_threads;
        while (fibers_[t].done);
        return t;
    }

    [[noreturn]] void run(int t) {
        current_ = t;
        threadIdx.x = static_cast<unsigned>(t);
        blockIdx.x = static_cast<unsigned>(fibers_[t].block);
        if (fibers_[t].started) _longjmp(fibers_[t].at, 1);
        fibers_[t].started = true;
        setcontext(&fibers_[t].entry);
        __builtin_unreachable();
    }

    Fiber fibers_[host_threads];
    std::vector<char> stacks_;
    jmp_buf home_;
    const std::function<void()>* kernel_ = nullptr;
    int64_t blocks_ = 0;
    int current_ = 0, left_ = 0;
};

inline Fibers fibers;

struct Barrier {
    int count, arrived = 0;
    unsigned generation = 0;

    void wait() {
        const unsigned before = generation;
        if (++arrived == count) {
            arrived = 0;
            ++generation;
        }
        while (generation == before) fibers.yield();
    }
};

// Values that the lanes of a warp exchange; two rows, so that one barrier per exchange is enough.
struct Warp {
    Barrier barrier{host_lanes};
    unsigned row[host_lanes] = {};
    char values[2][host_lanes][8];
};

inline Barrier block_barrier{host_threads};
inline Warp host_warps[host_threads / host_lanes];

inline void __syncthreads() { block_barrier.wait(); }
inline void Fibers::enter() { fibers.body(); }
inline void Fibers::wait_for_block() { block_barrier.wait(); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int step) {
    static_assert(sizeof(T) <= 8);
    Warp& warp = host_warps[threadIdx.x / host_lanes];
    const unsigned lane = threadIdx.x % host_lanes, row = warp.row[lane]++ % 2;
    std::memcpy(warp.values[row][lane], &value, sizeof(T));
    warp.barrier.wait();
    std::memcpy(&value, warp.values[row][lane ^ step], sizeof(T));
    return value;
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

}  // namespace efm::cuda
