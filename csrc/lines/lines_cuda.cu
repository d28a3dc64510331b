// One block per line. Its threads share the charges of every sum, and thread 0 runs the state machine of the line in shared
// memory. The split of a sum is fixed, so a line has the same bits alone and in any bundle. A block ends with its line and
// does not wait for longer ones.
#include "lines/lines_cuda.h"

#include "lines/device_guard.h"
#include "lines/line_machines.h"

namespace efm::cuda {
namespace {

constexpr int threads = 128, warps = threads / 32;
constexpr int run = 64;  // charges that a thread sums in float before it folds them into a double
constexpr float tiny_r2 = 1e-30f;
constexpr unsigned whole_warp = 0xffffffffu;

// The shared memory of a block.
template <int P>
struct Board {
    LineState<float> line;
    float rows[line_rows * (P + 1)];
    float direction[P + 1];
    Need need;
    float least[2][warps], second[warps];
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

// The squared distance of a point in registers and charge j. Features from d on count as 0.
template <int P, bool exact>
__device__ inline float squared_distance(const float (&x)[P], float h, const float* __restrict__ y, int64_t j, int d,
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

template <int P, bool exact>
class Block {
public:
    __device__ Block(const PlateCharges<float>& plates, Board<P>& board) : plates_(plates), board_(board) {}

    // The nearest charges of the line's base; only the result of thread 0 is used.
    __device__ NearestCharges<float> nearest() {
        load(board_.line.base());
        const Least plus = least(plates_.plus, plates_.n_plus, 0.0f, 0);
        const Least minus = least(plates_.places, plates_.n_places, plates_.L, 1);
        return {sqrtf(plus.first), sqrtf(minus.first), sqrtf(minus.second), plus.index, minus.index};
    }

    // The unit direction of the field at the line's point; thread 0 writes it to the board.
    __device__ void direction() {
        load(board_.line.point());
        smallest(plates_.plus, plates_.n_plus, 0.0f, 0);
        smallest(plates_.minus, plates_.n_minus, plates_.L, 1);
        __syncthreads();
        float pivot[2];
        for (int s = 0; s < 2; ++s) {
            pivot[s] = board_.least[s][0];
            for (int w = 1; w < warps; ++w) pivot[s] = fminf(pivot[s], board_.least[s][w]);
        }
        const int n = exact ? P + 1 : plates_.d + 1;
        const bool plus_nearer = pivot[0] < pivot[1];
        const float ratio = fminf(pivot[0], pivot[1]) / fmaxf(pivot[0], pivot[1]);
        const float far = exp2f(0.5f * n * log2f(ratio));
        double total[P + 1];
        for (int k = 0; k <= P; ++k) total[k] = 0.0;
        add(plates_.plus, plates_.n_plus, 0.0f, pivot[0], (plus_nearer ? 1.0f : far) / plates_.n_plus, total);
        add(plates_.minus, plates_.n_minus, plates_.L, pivot[1], -(plus_nearer ? far : 1.0f) / plates_.n_minus, total);
        share(total);
        __syncthreads();
        if (threadIdx.x == 0) finish(fminf(pivot[0], pivot[1]) < tiny_r2);
    }

private:
    __device__ void load(const float* point) {
        const int d = exact ? P : plates_.d;
#pragma unroll
        for (int k = 0; k < P; ++k) x_[k] = exact || k < d ? point[k] : 0.0f;
        z_ = point[d];
    }

    // The nearest charge of one plate, found by the whole block.
    __device__ Least least(const float* charges, int64_t count, float plate, int slot) {
        Least mine{HUGE_VALF, HUGE_VALF, INT64_MAX};
        float diff[P];
        for (int64_t j = threadIdx.x; j < count; j += threads) {
            const float r2 = squared_distance<P, exact>(x_, z_ - plate, charges, j, plates_.d, diff);
            mine = nearer(mine, {r2, HUGE_VALF, j});
        }
        mine = nearest_in_warp(mine);
        const int warp = threadIdx.x / 32;
        if (threadIdx.x % 32 == 0) {
            board_.least[slot][warp] = mine.first;
            board_.second[warp] = mine.second;
            board_.index[slot][warp] = mine.index;
        }
        __syncthreads();
        Least found{board_.least[slot][0], board_.second[0], board_.index[slot][0]};
        for (int w = 1; w < warps; ++w)
            found = nearer(found, {board_.least[slot][w], board_.second[w], board_.index[slot][w]});
        __syncthreads();  // `second` is written again for the other plate
        return found;
    }

    // Writes the smallest r2 of each warp's charges of one plate to the board.
    __device__ void smallest(const float* charges, int64_t count, float plate, int slot) {
        float mine = HUGE_VALF, diff[P];
#pragma unroll 4
        for (int64_t j = threadIdx.x; j < count; j += threads)
            mine = fminf(mine, squared_distance<P, exact>(x_, z_ - plate, charges, j, plates_.d, diff));
#pragma unroll
        for (int step = 16; step; step >>= 1) mine = fminf(mine, __shfl_xor_sync(whole_warp, mine, step));
        if (threadIdx.x % 32 == 0) board_.least[slot][threadIdx.x / 32] = mine;
    }

    // total += factor * sum over a thread's charges of (r2 / pivot)^(-n/2) (x - y, z - plate)
    __device__ void add(const float* charges, int64_t count, float plate, float pivot, float factor, double* total) {
        const int n = exact ? P + 1 : plates_.d + 1;
        const float inverse = 1.0f / pivot, height = z_ - plate;
        for (int64_t first = threadIdx.x; first < count; first += threads * run) {
            float part[P], weights = 0.0f, diff[P];
#pragma unroll
            for (int k = 0; k < P; ++k) part[k] = 0.0f;
            const int64_t end = first + threads * run < count ? first + threads * run : count;
#pragma unroll 4
            for (int64_t j = first; j < end; j += threads) {
                const float r2 = squared_distance<P, exact>(x_, height, charges, j, plates_.d, diff);
                const float weight = whole_power(rsqrtf(r2 * inverse), n);
                weights += weight;
#pragma unroll
                for (int k = 0; k < P; ++k) part[k] = fmaf(weight, diff[k], part[k]);
            }
#pragma unroll
            for (int k = 0; k < P; ++k) total[k] += static_cast<double>(factor) * part[k];
            total[P] += static_cast<double>(factor) * (weights * height);
        }
    }

    __device__ void share(double (&total)[P + 1]) {
#pragma unroll
        for (int k = 0; k <= P; ++k) {
#pragma unroll
            for (int step = 16; step; step >>= 1) total[k] += __shfl_xor_sync(whole_warp, total[k], step);
            if (threadIdx.x % 32 == 0) board_.sums[k][threadIdx.x / 32] = total[k];
        }
    }

    // Called by thread 0: adds the sums of the warps and normalises them. The direction is zero on a charge, where the sums
    // have no meaning.
    __device__ void finish(bool on_charge) {
        const int d = exact ? P : plates_.d;
        double square = 0.0;
        for (int k = 0; k <= P; ++k) {
            for (int w = 1; w < warps; ++w) board_.sums[k][0] += board_.sums[k][w];
            square += board_.sums[k][0] * board_.sums[k][0];
        }
        const bool vanishes = on_charge || square == 0.0;
        const double scale = rsqrt(square);
        for (int k = 0; k <= d; ++k)
            board_.direction[k] = vanishes ? 0.0f : static_cast<float>(board_.sums[k < d ? k : P][0] * scale);
    }

    const PlateCharges<float>& plates_;
    Board<P>& board_;
    float x_[P], z_;
};

// Blocks per multiprocessor: as many as the registers allow without spilling.
template <int P>
constexpr int resident = P <= 4 ? 8 : P <= 8 ? 6 : 3;

template <class Machine, int P, bool exact>
__global__ void __launch_bounds__(threads, resident<P>) follow(const __grid_constant__ Machine machine) {
    __shared__ Board<P> board;
    LineState<float>& line = board.line;
    const bool leads = threadIdx.x == 0;
    Block<P, exact> block(machine.plates, board);
    if (leads) {
        line.rows = board.rows;
        line.n = machine.plates.d + 1;
        start(line, machine.out, static_cast<int64_t>(blockIdx.x));
        board.need = machine.need(line);
    }
    __syncthreads();
    for (Need need = board.need; need != Need::nothing; need = board.need) {
        if (need == Need::nearest) {
            const NearestCharges<float> near = block.nearest();
            if (leads) machine.approach(line, near);
        } else {
            block.direction();
            if (leads) machine.feed(line, board.direction);
        }
        if (leads) board.need = machine.need(line);
        __syncthreads();
    }
    if (leads) write(line, machine.out);
}

template <class Machine>
std::string launch(const Machine& machine, int device, std::uintptr_t stream) {
    if (machine.out.count == 0) return "";
    if (machine.out.count > INT32_MAX) return "more than 2^31 - 1 lines";
    DeviceGuard guard(device);
    if (!guard.ready()) return guard.problem();
    const auto on = reinterpret_cast<cudaStream_t>(stream);
    const auto blocks = static_cast<unsigned>(machine.out.count);
    const int d = machine.plates.d;
    if (d == 2) follow<Machine, 2, true><<<blocks, threads, 0, on>>>(machine);
    else if (d == 3) follow<Machine, 3, true><<<blocks, threads, 0, on>>>(machine);
    else if (d <= 4) follow<Machine, 4, false><<<blocks, threads, 0, on>>>(machine);
    else if (d <= 8) follow<Machine, 8, false><<<blocks, threads, 0, on>>>(machine);
    else if (d <= line_dimension_cuda) follow<Machine, line_dimension_cuda, false><<<blocks, threads, 0, on>>>(machine);
    else return "too many features for lines on a CUDA device";
    return guard.problem();
}

}  // namespace

std::string trace_lines(const PlateCharges<float>& plates, const TraceRule<float>& rule, const LineRows<float>& out,
                        int device, std::uintptr_t stream) {
    return launch(TraceMachine<float>{plates, rule, out}, device, stream);
}

std::string forward_lines(const PlateCharges<float>& plates, const ForwardRule<float>& rule,
                          const LineRows<float>& out, int device, std::uintptr_t stream) {
    return launch(ForwardMachine<float>{plates, rule, out}, device, stream);
}

}  // namespace efm::cuda
