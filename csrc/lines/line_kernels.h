// The kernels that follow lines. `follow` gives a block of 128 threads to every line: the threads share the charges of every
// sum, and thread 0 runs the state machine of the line in shared memory. `sums` and `advance` do the same work with a block
// for every segment of every line, and one per line that merges the segments. They compile the same functions, without
// contractions that the source does not write, so a line has the same bits whichever of them follow it.
#pragma once

#include <type_traits>

#include "lines/line_block.h"

namespace efm::cuda {

// The line of a block, in shared memory.
template <int P>
struct LineBoard {
    LineState<float> line;
    float rows[line_rows * (P + 1)];
    float direction[P + 1];
    double total[P + 1];
    float pivot;
    Need need;
};

// Keeps a part where `merge` finds it: component k of segment s lies at [k, s], and the pivots lie behind the components.
__device__ inline void keep_part(const Part& part, double* partial, int index, int segments, int n) {
    const int k = threadIdx.x;
    if (k < n) partial[static_cast<int64_t>(k) * segments + index] = part.sum;
    if (k == 0) partial[static_cast<int64_t>(n) * segments + index] = part.pivot;
}

// Adds the parts in the scale of the smallest pivot. Each lane of a warp takes every 32nd segment, in order. A part whose
// weight is zero adds nothing, even where its sum is not finite.
template <int P>
__device__ inline void merge(const double* partial, int segments, int n, LineBoard<P>& board) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const double* pivots = partial + static_cast<int64_t>(n) * segments;
    float least = HUGE_VALF;
    for (int s = lane; s < segments; s += 32) least = fminf(least, static_cast<float>(pivots[s]));
    least = least_in_warp(least);
    for (int k = warp; k < n; k += warps) {
        double total = 0.0;
        for (int s = lane; s < segments; s += 32) {
            const double weight = relative_weight(static_cast<float>(pivots[s]), least, n);
            if (weight != 0.0) total += weight * partial[static_cast<int64_t>(k) * segments + s];
        }
        total = sum_in_warp(total);
        if (lane == 0) board.total[k] = total;
    }
    if (threadIdx.x == 0) board.pivot = least;
}

// Called by one thread: the unit direction of the field. It is zero on a charge, where the sums have no meaning, and where
// the field vanishes.
template <int P>
__device__ inline void normalise(LineBoard<P>& board, int n) {
    double square = 0.0;
    for (int k = 0; k < n; ++k) square += board.total[k] * board.total[k];
    const bool vanishes = board.pivot < tiny_r2 || square == 0.0;
    const double scale = 1.0 / sqrt(square);
    for (int k = 0; k < n; ++k) board.direction[k] = vanishes ? 0.0f : static_cast<float>(board.total[k] * scale);
}

// Called by one thread: ends a launch's work on the line of a block.
template <class Machine>
__device__ inline void note(const Machine& machine, const LineState<float>& line, Need need, const LineStore<float>& store,
                            int64_t round) {
    if (need == Need::nothing) write(line, machine.out);
    else *store.left = round;
}

// Writes the sums over both plates at the point to the board.
template <int P, bool exact>
__device__ inline void whole_field(SegmentSums<P, exact>& sums, const LineStore<float>& store, LineBoard<P>& board) {
    const int n = exact ? P + 1 : store.n;
    const int segments = store.segments.count;
    if (segments == 1) {
        const Part part = sums.field(0, store.segments);
        if (static_cast<int>(threadIdx.x) < n) board.total[threadIdx.x] = part.sum;
        if (threadIdx.x == 0) board.pivot = part.pivot;
        return;
    }
    double* partial = store.partial_of(blockIdx.x);
    for (int s = 0; s < segments; ++s) keep_part(sums.field(s, store.segments), partial, s, segments, n);
    __syncthreads();
    merge<P>(partial, segments, n, board);
}

// Blocks per multiprocessor: as many as the registers allow without spilling.
template <int P>
constexpr int resident = P <= 4 ? 8 : P <= 8 ? 5 : 3;

template <int P>
using Features = std::integral_constant<int, P>;

// Calls launch(P, exact) with the constants of the kernels that serve d features.
template <class Launch>
void with_features(int d, const Launch& launch) {
    if (d == 2) launch(Features<2>(), std::true_type());
    else if (d == 3) launch(Features<3>(), std::true_type());
    else if (d <= 4) launch(Features<4>(), std::false_type());
    else if (d <= 8) launch(Features<8>(), std::false_type());
    else launch(Features<line_dimension_cuda>(), std::false_type());
}

template <class Machine, int P, bool exact>
__global__ void __launch_bounds__(threads, resident<P>)
    follow(const __grid_constant__ Machine machine, const __grid_constant__ LineStore<float> store, int64_t turns, bool begins,
           int64_t round) {
    __shared__ SumBoard<P> sum_board;
    __shared__ LineBoard<P> board;
    if (!begins && store.need[blockIdx.x] == Need::nothing) return;
    LineState<float>& line = board.line;
    const bool leads = threadIdx.x == 0;
    SegmentSums<P, exact> sums(machine.plates, sum_board);
    if (!begins) {
        take_up(line, board.rows, store, blockIdx.x, threadIdx.x, threads);
        if (leads) board.need = store.need[blockIdx.x];
    } else if (leads) {
        line.rows = board.rows;
        line.n = store.n;
        start(line, machine.out, store.first + blockIdx.x);
        board.need = machine.need(line);
    }
    __syncthreads();
    for (Need need = board.need; need != Need::nothing && turns > 0; need = board.need, --turns) {
        if (need == Need::nearest) {
            sums.load(line.base());
            const Nearest near = sums.nearest();
            if (leads) machine.approach(line, near.distances());
        } else {
            sums.load(line.point());
            whole_field<P, exact>(sums, store, board);
            __syncthreads();
            if (leads) {
                normalise(board, store.n);
                machine.feed(line, board.direction);
            }
        }
        if (leads) board.need = machine.need(line);
        __syncthreads();
    }
    keep(line, board.need, store, blockIdx.x, threadIdx.x, threads);
    if (leads) note(machine, line, board.need, store, round);
}

// A block for segment blockIdx.x % segments of line blockIdx.x / segments.
template <int P, bool exact>
__global__ void __launch_bounds__(threads, resident<P>)
    sums(const __grid_constant__ PlateCharges<float> plates, const __grid_constant__ LineStore<float> store) {
    __shared__ SumBoard<P> board;
    const int segments = store.segments.count, index = blockIdx.x % segments;
    const int64_t i = blockIdx.x / segments;
    const Need need = store.need[i];
    if (need == Need::nothing) return;
    double* partial = store.partial_of(i);
    SegmentSums<P, exact> segment(plates, board);
    if (need == Need::field) {
        segment.load(store.rows_of(i) + store.n);
        keep_part(segment.field(index, store.segments), partial, index, segments, store.n);
        return;
    }
    segment.load(store.rows_of(i));
    const Nearest near = segment.nearest(index, store.segments);
    if (threadIdx.x) return;
    const double row[] = {near.plus.first, static_cast<double>(near.plus.index), near.minus.first, near.minus.second,
                          static_cast<double>(near.minus.index)};
    for (int k = 0; k < 5; ++k) partial[static_cast<int64_t>(k) * segments + index] = row[k];
}

// The nearest charges of all segments, found by a whole warp.
__device__ inline Nearest merge_nearest(const double* partial, int segments) {
    const Least none{HUGE_VALF, HUGE_VALF, INT64_MAX};
    Nearest near{none, none};
    for (int64_t s = threadIdx.x % 32; s < segments; s += 32) {
        const double* at = partial + s;
        const int64_t row = segments;
        if (at[0] < HUGE_VAL) near.plus = nearer(near.plus, {static_cast<float>(at[0]), HUGE_VALF, static_cast<int64_t>(at[row])});
        if (at[2 * row] < HUGE_VAL)
            near.minus = nearer(near.minus, {static_cast<float>(at[2 * row]), static_cast<float>(at[3 * row]),
                                             static_cast<int64_t>(at[4 * row])});
    }
    return {nearest_in_warp(near.plus), nearest_in_warp(near.minus)};
}

// Merges the segments of a line and gives the line its answer. It serves every number of features.
template <class Machine>
__global__ void __launch_bounds__(threads, 8)
    advance(const __grid_constant__ Machine machine, const __grid_constant__ LineStore<float> store, int64_t round) {
    constexpr int P = line_dimension_cuda;
    __shared__ LineBoard<P> board;
    const Need need = store.need[blockIdx.x];
    if (need == Need::nothing) return;
    LineState<float>& line = board.line;
    const bool leads = threadIdx.x == 0;
    const double* partial = store.partial_of(blockIdx.x);
    take_up(line, board.rows, store, blockIdx.x, threadIdx.x, threads);
    if (need == Need::field) merge<P>(partial, store.segments.count, store.n, board);
    __syncthreads();
    if (need == Need::nearest && threadIdx.x < 32) {
        const Nearest near = merge_nearest(partial, store.segments.count);
        if (leads) machine.approach(line, near.distances());
    } else if (need == Need::field && leads) {
        normalise(board, store.n);
        machine.feed(line, board.direction);
    }
    if (leads) board.need = machine.need(line);
    __syncthreads();
    keep(line, board.need, store, blockIdx.x, threadIdx.x, threads);
    if (leads) note(machine, line, board.need, store, round);
}

}  // namespace efm::cuda
