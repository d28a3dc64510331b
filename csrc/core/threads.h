// Loops on std::thread workers that the calling thread can break off between turns.
#pragma once

#include <cstdint>
#include <functional>

namespace efm {

// Called by the calling thread every few milliseconds; true asks for the loop to be broken off.
using Poll = std::function<bool()>;

// Runs task(index, worker) for index in [0, count), each once, in no fixed order over `threads` workers of
// which the calling thread is worker 0. Returns false if `poll` broke it off. The first exception of a task
// ends the loop and is thrown again here.
bool parallel_for(int64_t count, int threads, const Poll& poll, const std::function<void(int64_t, int)>& task);

// Every worker takes turns until turn(worker) says false: for work that a worker carries on from turn to turn.
bool parallel_turns(int workers, const Poll& poll, const std::function<bool(int)>& turn);

}  // namespace efm
