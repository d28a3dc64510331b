#include "core/threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace efm {

bool parallel_turns(int workers, const Poll& poll, const std::function<bool(int)>& turn) {
    using clock = std::chrono::steady_clock;
    constexpr auto poll_interval = std::chrono::milliseconds(20);

    std::atomic<bool> stop{false};
    bool interrupted = false;
    std::exception_ptr error;
    std::mutex error_mutex;

    auto work = [&](int worker) {
        auto last_poll = clock::now();
        try {
            while (!stop.load(std::memory_order_relaxed) && turn(worker)) {
                if (worker == 0 && poll && clock::now() - last_poll > poll_interval) {
                    last_poll = clock::now();
                    if (poll()) {
                        interrupted = true;
                        stop = true;
                    }
                }
            }
        } catch (...) {
            stop = true;
            std::lock_guard<std::mutex> lock(error_mutex);
            if (!error) error = std::current_exception();
        }
    };

    std::vector<std::thread> pool;
    pool.reserve(workers - 1);
    for (int k = 1; k < workers; ++k) {
        try {
            pool.emplace_back(work, k);
        } catch (const std::system_error&) {
            break;  // the system refuses more threads; those that started do the work
        }
    }
    work(0);
    for (auto& t : pool) t.join();
    if (error) std::rethrow_exception(error);
    return !interrupted;
}

bool parallel_for(int64_t count, int threads, const Poll& poll, const std::function<void(int64_t, int)>& task) {
    std::atomic<int64_t> next{0};
    const int workers = static_cast<int>(std::clamp<int64_t>(std::min<int64_t>(threads, count), 1, 1024));
    return parallel_turns(workers, poll, [&](int worker) {
        const int64_t i = next.fetch_add(1);
        if (i >= count) return false;
        task(i, worker);
        return true;
    });
}

}  // namespace efm
