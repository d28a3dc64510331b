#include "lines/slope_step.h"

#include <algorithm>
#include <vector>

namespace efm {
namespace {

constexpr int64_t elements_per_task = 1 << 16;  // with fewer, a thread costs more time than it saves

template <class Update>
void step(const StepRows& rows, const Update& update, int threads) {
    const int d = rows.d;
    const int64_t per_task = std::max<int64_t>(1, elements_per_task / std::max(d, 1));
    const int64_t tasks = (rows.count + per_task - 1) / per_task;
    parallel_for(tasks, threads, {}, [&](int64_t task, int) {
        std::vector<float> lateral(d);
        const int64_t end = std::min(rows.count, (task + 1) * per_task);
        for (int64_t i = task * per_task; i < end; ++i) {
            for (int k = 0; k < d; ++k) lateral[k] = update.lateral(i, k, d);
            const float held = slope_scale(length_of(lateral.data(), d), update.axial(i, d), rows.steepest);
            const float* base = rows.base + i * d;
            float* out = rows.out + i * d;
            for (int k = 0; k < d; ++k) out[k] = base[k] + rows.scale * held * lateral[k];
        }
    });
}

}  // namespace

void slope_step(const StepRows& rows, const SlopeOfDirection& update, int threads) { step(rows, update, threads); }
void slope_step(const StepRows& rows, const SlopeOfMeans& update, int threads) { step(rows, update, threads); }

}  // namespace efm
