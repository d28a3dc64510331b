// What the threads of a block compute together for one line: the parts of its sums over segments of the charges, its
// nearest charges, and the merged field. Device code; csrc/tests/device_on_host.h lets it run on the host.
#pragma once

#include "lines/line_store.h"

namespace efm::cuda {

constexpr int threads = 128, warps = threads / 32;
constexpr int run = 64;  // charges that a thread sums in float before it folds them into a double
constexpr float tiny_r2 = 1e-30f;
constexpr unsigned whole_warp = 0xffffffffu;

// The shared memory of a block that sums over charges.
template <int P>
struct SumBoard {
    float least[2][warps], second[2][warps];
    int64_t index[2][warps];
    double sums[P + 1][warps];
};

// y^n for a whole n; the loop is unrolled where n is known
__device__ inline float whole_power(float y, int n) {
    float result = 1.0f;
    for (; n; n >>= 1) {
        if (n & 1) result *= y;
        y *= y;
    }
    return result;
}

// (pivot / least)^(-n/2): the weight of a charge at the squared distance `pivot` in the scale of one at `least`
__device__ inline float relative_weight(float pivot, float least, int n) {
    return whole_power(rsqrtf(pivot / least), n);
}

// The squared distance of a point in registers and charge j. Features from d on count as 0.
template <int P, bool exact, class Index>
__device__ inline float squared_distance(const float (&x)[P], float h, const float* __restrict__ y, Index j, int d,
                                         float (&diff)[P]) {
    float r2 = h * h;
#pragma unroll
    for (int k = 0; k < P; ++k) {
        diff[k] = exact || k < d ? x[k] - y[j * (exact ? P : d) + k] : 0.0f;
        r2 = fmaf(diff[k], diff[k], r2);
    }
    return r2;
}

struct Least {
    float first, second;
    int64_t index;
};

// Merges two results into the nearer one. At equal distances the lower index wins, so that the order of a reduction does
// not matter.
__device__ inline Least nearer(const Least& a, const Least& b) {
    const bool left = a.first < b.first || (a.first == b.first && a.index < b.index);
    const float loser = left ? b.first : a.first;
    const float seconds = fminf(a.second, b.second);
    return {left ? a.first : b.first, fminf(loser, seconds), left ? a.index : b.index};
}

__device__ inline Least nearest_in_warp(Least mine) {
#pragma unroll
    for (int step = 16; step; step >>= 1) {
        const Least other{__shfl_xor_sync(whole_warp, mine.first, step), __shfl_xor_sync(whole_warp, mine.second, step),
                          __shfl_xor_sync(whole_warp, mine.index, step)};
        mine = nearer(mine, other);
    }
    return mine;
}

__device__ inline float least_in_warp(float mine) {
#pragma unroll
    for (int step = 16; step; step >>= 1) mine = fminf(mine, __shfl_xor_sync(whole_warp, mine, step));
    return mine;
}

__device__ inline double sum_in_warp(double mine) {
#pragma unroll
    for (int step = 16; step; step >>= 1) mine += __shfl_xor_sync(whole_warp, mine, step);
    return mine;
}

// The nearest charges of both plates; the second one of the plus plate is not kept.
struct Nearest {
    Least plus, minus;

    __device__ NearestCharges<float> distances() const {
        return {sqrtf(plus.first), sqrtf(minus.first), sqrtf(minus.second), plus.index, minus.index};
    }
};

// The sum over a segment of both plates in the scale of its pivot, the smallest squared distance. `sum` is one component
// of it, that of thread k < n for component k; z is the last.
struct Part {
    float pivot;
    double sum;
};

template <int P, bool exact>
class SegmentSums {
public:
    __device__ SegmentSums(const PlateCharges<float>& plates, SumBoard<P>& board) : plates_(plates), board_(board) {}

    // Takes the point for the sums that follow.
    __device__ void load(const float* point) {
        const int d = exact ? P : plates_.d;
#pragma unroll
        for (int k = 0; k < P; ++k) x_[k] = exact || k < d ? point[k] : 0.0f;
        z_ = point[d];
    }

    // The nearest of all charges, or of one segment of them.
    __device__ Nearest nearest() {
        least(plates_.plus, 0, plates_.n_plus, 0.0f, 0);
        least(plates_.places, 0, plates_.n_places, plates_.L, 1);
        __syncthreads();
        return {found(0), found(1)};
    }

    __device__ Nearest nearest(int index, const Segments& segments) {
        const Segment plus = Segments::at(index, segments.plus, plates_.n_plus);
        const Segment places = Segments::at(index, segments.places, plates_.n_places);
        least(plates_.plus, plus.first, plus.first + plus.count, 0.0f, 0);
        least(plates_.places, places.first, places.first + places.count, plates_.L, 1);
        __syncthreads();
        return {found(0), found(1)};
    }

    __device__ Part field(int index, const Segments& segments) {
        const int d = exact ? P : plates_.d;
        const Segment plus = Segments::at(index, segments.plus, plates_.n_plus);
        const Segment minus = Segments::at(index, segments.minus, plates_.n_minus);
        smallest(plates_.plus + plus.first * d, plus.count, 0.0f, 0);
        smallest(plates_.minus + minus.first * d, minus.count, plates_.L, 1);
        __syncthreads();
        float pivot[2];
        for (int s = 0; s < 2; ++s) {
            pivot[s] = board_.least[s][0];
            for (int w = 1; w < warps; ++w) pivot[s] = fminf(pivot[s], board_.least[s][w]);
        }
        const bool plus_nearer = pivot[0] < pivot[1];
        const float least = fminf(pivot[0], pivot[1]);
        const float far = relative_weight(fmaxf(pivot[0], pivot[1]), least, d + 1);
        double total[P + 1];
        for (int k = 0; k <= P; ++k) total[k] = 0.0;
        add(plates_.plus + plus.first * d, plus.count, 0.0f, pivot[0], (plus_nearer ? 1.0f : far) / plates_.n_plus, total);
        add(plates_.minus + minus.first * d, minus.count, plates_.L, pivot[1],
            -(plus_nearer ? far : 1.0f) / plates_.n_minus, total);
#pragma unroll
        for (int k = 0; k <= P; ++k) {
            const double sum = sum_in_warp(total[k]);
            if (threadIdx.x % 32 == 0) board_.sums[k][threadIdx.x / 32] = sum;
        }
        __syncthreads();
        return {least, static_cast<int>(threadIdx.x) <= d ? component(threadIdx.x, d) : 0.0};
    }

private:
    // Writes the nearest charges of each warp's share to the board.
    __device__ void least(const float* charges, int64_t first, int64_t end, float plate, int slot) {
        Least mine{HUGE_VALF, HUGE_VALF, INT64_MAX};
        float diff[P];
        for (int64_t j = first + threadIdx.x; j < end; j += threads) {
            const float r2 = squared_distance<P, exact>(x_, z_ - plate, charges, j, plates_.d, diff);
            mine = nearer(mine, {r2, HUGE_VALF, j});
        }
        mine = nearest_in_warp(mine);
        const int warp = threadIdx.x / 32;
        if (threadIdx.x % 32) return;
        board_.least[slot][warp] = mine.first;
        board_.second[slot][warp] = mine.second;
        board_.index[slot][warp] = mine.index;
    }

    __device__ Least found(int slot) const {
        Least best{board_.least[slot][0], board_.second[slot][0], board_.index[slot][0]};
        for (int w = 1; w < warps; ++w)
            best = nearer(best, {board_.least[slot][w], board_.second[slot][w], board_.index[slot][w]});
        return best;
    }

    // Writes the smallest r2 of each warp's charges of one plate to the board.
    __device__ void smallest(const float* charges, int count, float plate, int slot) {
        float mine = HUGE_VALF, diff[P];
#pragma unroll 4
        for (int j = threadIdx.x; j < count; j += threads)
            mine = fminf(mine, squared_distance<P, exact>(x_, z_ - plate, charges, j, plates_.d, diff));
        mine = least_in_warp(mine);
        if (threadIdx.x % 32 == 0) board_.least[slot][threadIdx.x / 32] = mine;
    }

    // total += factor * sum over a thread's charges of (r2 / pivot)^(-n/2) (x - y, z - plate)
    __device__ void add(const float* charges, int count, float plate, float pivot, float factor, double* total) {
        const int n = exact ? P + 1 : plates_.d + 1;
        const float inverse = 1.0f / pivot, height = z_ - plate;
        for (int first = threadIdx.x; first < count; first += threads * run) {
            float lateral[P], weights = 0.0f, diff[P];
#pragma unroll
            for (int k = 0; k < P; ++k) lateral[k] = 0.0f;
            const int end = first + threads * run < count ? first + threads * run : count;
#pragma unroll 4
            for (int j = first; j < end; j += threads) {
                const float r2 = squared_distance<P, exact>(x_, height, charges, j, plates_.d, diff);
                const float weight = whole_power(rsqrtf(r2 * inverse), n);
                weights += weight;
#pragma unroll
                for (int k = 0; k < P; ++k) lateral[k] = fmaf(weight, diff[k], lateral[k]);
            }
#pragma unroll
            for (int k = 0; k < P; ++k) total[k] += static_cast<double>(factor) * lateral[k];
            total[P] += static_cast<double>(factor) * (weights * height);
        }
    }

    __device__ double component(int k, int d) const {
        const double* of_warps = board_.sums[k < d ? k : P];
        double sum = of_warps[0];
        for (int w = 1; w < warps; ++w) sum += of_warps[w];
        return sum;
    }

    const PlateCharges<float>& plates_;
    SumBoard<P>& board_;
    float x_[P], z_;
};

}  // namespace efm::cuda
