#include "lines/lines.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "lines/line_machines.h"
#include "lines/nearest_kernel.h"
#include "sum/direct/direct_kernel.h"

namespace efm {
namespace {

template <class T>
struct Charges {
    const T* at;  // [count, d]
    int64_t count;
};

// The charges of one plate, as the kernels for sums need them, and those among which the nearest are searched.
template <class T>
class Plate {
public:
    Plate(Charges<T> summed, Charges<T> searched, int d, T z)
        : z_(z), count_(summed.count), d_(d), charges_(summed.at) {
        const int width = sizeof(T) == 4 ? best_kernels<NearestKernels>().width32 : best_kernels<NearestKernels>().width64;
        blocks_ = (searched.count + width - 1) / width;
        lanes_.assign(blocks_ * d * width, std::numeric_limits<T>::infinity());
        for (int64_t j = 0; j < searched.count; ++j)
            for (int k = 0; k < d; ++k) lanes_[(j / width * d + k) * width + j % width] = searched.at[j * d + k];
    }

    T height2(T z) const { return (z - z_) * (z - z_); }
    T height(T z) const { return z - z_; }
    int64_t count() const { return count_; }

    TwoNearest<T> nearest(const T* point) const {
        const ChargeLanes<T> lanes{lanes_.data(), blocks_, d_};
        if constexpr (sizeof(T) == 4) return best_kernels<NearestKernels>().find32(lanes, point, height2(point[d_]));
        else return best_kernels<NearestKernels>().find64(lanes, point, height2(point[d_]));
    }

    void add(const Request& request, const DirectPoints& points, void* scratch) const {
        const DirectKernels& kernels = best_kernels<DirectKernels>();
        for (int64_t j = 0; j < count_; j += direct_max_charges) {
            const int block = static_cast<int>(std::min<int64_t>(direct_max_charges, count_ - j));
            const DirectCharges charges{block, charges_ + j * d_, nullptr, nullptr};
            (sizeof(T) == 4 ? kernels.add32 : kernels.add64)(request, points, charges, scratch);
        }
    }

private:
    T z_;
    int64_t count_, blocks_;
    int d_;
    const T* charges_;
    std::vector<T> lanes_;
};

// The sums over one plate for the lines in the lanes of a group.
template <class T>
struct LaneSums {
    std::vector<T> h2, ref, best;
    std::vector<double> acc;
    LaneSums(int width, int d) : h2(width, T(1)), ref(width), best(width), acc(width * (d + 1)) {}
};

// As many lines as a vector has lanes. They advance together, one evaluation of the field at a time; when a line ends, the
// next line of the bundle takes its lane.
template <class T, class Machine>
class LaneGroup {
public:
    LaneGroup(const Machine& machine, const Plate<T>& plus, const Plate<T>& minus, std::atomic<int64_t>& next)
        : machine_(machine), plus_(plus), minus_(minus), next_(next), d_(machine.plates.d),
          width_(sizeof(T) == 4 ? best_kernels<DirectKernels>().width32 : best_kernels<DirectKernels>().width64), rows_(width_ * line_rows * (d_ + 1)),
          lines_(width_), x_(width_ * d_), scratch_(direct_max_charges * width_), direction_(d_ + 1),
          sums_{LaneSums<T>(width_, d_), LaneSums<T>(width_, d_)} {
        request_.kernel = coulomb(d_);
        for (int i = 0; i < width_; ++i) {
            lines_[i].rows = rows_.data() + i * line_rows * (d_ + 1);
            lines_[i].n = d_ + 1;
            lines_[i].index = -1;
        }
    }

    // Evaluates the field once for every lane. Returns false when no line is left.
    bool turn() {
        int waiting = 0;
        for (int i = 0; i < width_; ++i) waiting += fill(i);
        if (waiting == 0) return false;
        evaluate(plus_, sums_[0]);
        evaluate(minus_, sums_[1]);
        for (int i = 0; i < width_; ++i) {
            if (lines_[i].index < 0) continue;
            find_direction(i);
            machine_.feed(lines_[i], direction_.data());
        }
        return true;
    }

private:
    // Puts a line that waits for the field into the lane. Returns false if none is left.
    bool fill(int lane) {
        LineState<T>& line = lines_[lane];
        while (line.index < 0 || !waits_for_field(line)) {
            if (line.index >= 0) write(line, machine_.out);
            line.index = -1;
            const int64_t index = next_.fetch_add(1);
            if (index >= machine_.out.count) return false;
            start(line, machine_.out, index);
        }
        for (int k = 0; k < d_; ++k) x_[k * width_ + lane] = line.point()[k];
        sums_[0].h2[lane] = plus_.height2(line.point()[d_]);
        sums_[1].h2[lane] = minus_.height2(line.point()[d_]);
        return true;
    }

    bool waits_for_field(LineState<T>& line) const {
        Need need = machine_.need(line);
        for (; need == Need::nearest; need = machine_.need(line)) machine_.approach(line, nearest_charges(line.base()));
        return need == Need::field;
    }

    NearestCharges<T> nearest_charges(const T* point) const {
        const TwoNearest<T> plus = plus_.nearest(point), minus = minus_.nearest(point);
        return {std::sqrt(plus.first), std::sqrt(minus.first), std::sqrt(minus.second), plus.index, minus.index};
    }

    void evaluate(const Plate<T>& plate, LaneSums<T>& sums) {
        std::fill(sums.ref.begin(), sums.ref.end(), std::numeric_limits<T>::infinity());
        std::fill(sums.best.begin(), sums.best.end(), std::numeric_limits<T>::infinity());
        std::fill(sums.acc.begin(), sums.acc.end(), 0.0);
        const DirectPoints points{d_, 1, x_.data(), sums.h2.data(), nullptr, sums.ref.data(), sums.best.data(),
                                  sums.acc.data()};
        plate.add(request_, points, scratch_.data());
    }

    // The unit direction of the field of both plates, summed in the scale of the nearer one. It is zero on a charge and where
    // the field vanishes.
    void find_direction(int lane) {
        const LineState<T>& line = lines_[lane];
        const T ref[] = {sums_[0].ref[lane], sums_[1].ref[lane]};
        const T z = line.point()[d_];
        const double height[] = {plus_.height(z), minus_.height(z)};
        const double far = std::pow(std::min(ref[0], ref[1]) / static_cast<double>(std::max(ref[0], ref[1])),
                                    0.5 * (d_ + 1.0));
        double factor[] = {1.0 / plus_.count(), -1.0 / minus_.count()};
        factor[ref[0] < ref[1] ? 1 : 0] *= far;
        const T tiny = sizeof(T) == 4 ? T(direct_tiny32) : T(direct_tiny64);
        const bool on_charge = std::min(sums_[0].best[lane], sums_[1].best[lane]) < tiny;
        double square = 0.0;
        for (int k = 0; k <= d_; ++k) {
            double part = 0.0;
            for (int s = 0; s < 2; ++s) {
                const double* acc = sums_[s].acc.data() + lane;
                part += factor[s] * (k < d_ ? acc[(k + 1) * width_] : height[s] * acc[0]);
            }
            direction_wide_[k] = part;
            square += part * part;
        }
        const bool vanishes = on_charge || square == 0.0;  // on a charge the sums have no meaning
        const double scale = 1.0 / std::sqrt(square);
        for (int k = 0; k <= d_; ++k) direction_[k] = vanishes ? T(0) : static_cast<T>(direction_wide_[k] * scale);
    }

    const Machine& machine_;
    const Plate<T>& plus_;
    const Plate<T>& minus_;
    std::atomic<int64_t>& next_;
    int d_, width_;
    std::vector<T> rows_;
    std::vector<LineState<T>> lines_;
    std::vector<T> x_, scratch_, direction_;
    std::vector<double> direction_wide_ = std::vector<double>(d_ + 1);
    LaneSums<T> sums_[2];
    Request request_{};
};

template <class T, class Machine>
bool follow(const Machine& machine, int threads, const Poll& poll) {
    const PlateCharges<T>& p = machine.plates;
    const Charges<T> positive{p.plus, p.n_plus}, negative{p.minus, p.n_minus}, places{p.places, p.n_places};
    const Plate<T> plus(positive, positive, p.d, T(0)), minus(negative, places, p.d, p.L);
    const int width = sizeof(T) == 4 ? best_kernels<DirectKernels>().width32 : best_kernels<DirectKernels>().width64;
    const int64_t groups = (machine.out.count + width - 1) / width;
    const int workers = static_cast<int>(std::clamp<int64_t>(std::min<int64_t>(threads, groups), 1, 1024));
    std::atomic<int64_t> next{0};
    std::vector<std::unique_ptr<LaneGroup<T, Machine>>> lanes(workers);
    return parallel_turns(workers, poll, [&](int worker) {
        auto& group = lanes[worker];
        if (!group) group = std::make_unique<LaneGroup<T, Machine>>(machine, plus, minus, next);
        return group->turn();
    });
}

}  // namespace

template <class T>
bool trace_lines(const PlateCharges<T>& plates, const TraceRule<T>& rule, const LineRows<T>& out, int threads,
                 const Poll& poll) {
    return follow<T>(TraceMachine<T>{plates, rule, out}, threads, poll);
}

template <class T>
bool forward_lines(const PlateCharges<T>& plates, const ForwardRule<T>& rule, const LineRows<T>& out, int threads,
                   const Poll& poll) {
    return follow<T>(ForwardMachine<T>{plates, rule, out}, threads, poll);
}

template bool trace_lines(const PlateCharges<float>&, const TraceRule<float>&, const LineRows<float>&, int, const Poll&);
template bool trace_lines(const PlateCharges<double>&, const TraceRule<double>&, const LineRows<double>&, int, const Poll&);
template bool forward_lines(const PlateCharges<float>&, const ForwardRule<float>&, const LineRows<float>&, int, const Poll&);
template bool forward_lines(const PlateCharges<double>&, const ForwardRule<double>&, const LineRows<double>&, int, const Poll&);

}  // namespace efm
