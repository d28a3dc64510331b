// Loops over std::thread workers. The calling thread can stop them between two tasks.
#pragma once

#include <cstdint>
#include <functional>

namespace efm {

// The calling thread calls it about every 20 milliseconds; it returns true to stop the loop.
using Poll = std::function<bool()>;

// Runs task(index, worker) once for every index in [0, count), in no fixed order, on `threads` workers. The calling
// thread is worker 0. Returns false if `poll` stopped the loop. The first exception of a task ends the loop and is
// thrown again here.
bool parallel_for(int64_t count, int threads, const Poll& poll, const std::function<void(int64_t, int)>& task);

// Every worker calls turn(worker) until it returns false. Use it where a worker keeps state from one turn to the next.
bool parallel_turns(int workers, const Poll& poll, const std::function<bool(int)>& turn);

}  // namespace efm
