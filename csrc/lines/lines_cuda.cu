// Launches the kernels of line_kernels.h.
#include "lines/lines_cuda.h"

#include "lines/device_guard.h"
#include "lines/line_driver.h"
#include "lines/line_kernels.h"

namespace efm::cuda {
namespace {

// The kernels of one kind of machine on a stream, for LineDriver.
template <class Machine>
class Stream {
public:
    explicit Stream(cudaStream_t stream) : stream_(stream) {
        cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
        keep(cudaStreamIsCapturing(stream, &status));
        looks = status == cudaStreamCaptureStatusNone;
    }

    bool follow(const Machine& machine, const LineStore<float>& store, int64_t turns, bool begins, int64_t round) {
        with_features(machine.plates.d, [&](auto features, auto exact) {
            cuda::follow<Machine, features.value, exact.value>
                <<<blocks(store.lines), threads, 0, stream_>>>(machine, store, turns, begins, round);
        });
        return keep(cudaGetLastError());
    }

    bool sums(const Machine& machine, const LineStore<float>& store) {
        with_features(machine.plates.d, [&](auto features, auto exact) {
            cuda::sums<features.value, exact.value>
                <<<blocks(store.lines * store.segments.count), threads, 0, stream_>>>(machine.plates, store);
        });
        return keep(cudaGetLastError());
    }

    bool advance(const Machine& machine, const LineStore<float>& store, int64_t round) {
        cuda::advance<Machine><<<blocks(store.lines), threads, 0, stream_>>>(machine, store, round);
        return keep(cudaGetLastError());
    }

    bool clear(const LineStore<float>& store) {
        return keep(cudaMemsetAsync(store.left, 0, sizeof *store.left, stream_));
    }

    bool left(const LineStore<float>& store, int64_t& round) {
        return keep(cudaMemcpyAsync(&round, store.left, sizeof round, cudaMemcpyDeviceToHost, stream_)) &&
               keep(cudaStreamSynchronize(stream_));
    }

    std::string problem() const {
        return status_ == cudaSuccess ? "" : std::string("CUDA: ") + cudaGetErrorString(status_);
    }

    bool looks;

private:
    static unsigned blocks(int64_t count) { return static_cast<unsigned>(count); }

    bool keep(cudaError_t status) {
        if (status_ == cudaSuccess) status_ = status;
        return status_ == cudaSuccess;
    }

    cudaStream_t stream_;
    cudaError_t status_ = cudaSuccess;
};

template <class Machine>
LineOutcome drive(const Machine& machine, const LinePlan& plan, const LinePlace& place, const Poll& poll) {
    if (machine.out.count == 0) return {"", false};
    if (machine.plates.d > line_dimension_cuda) return {"too many features for lines on a CUDA device", false};
    const PlateCharges<float>& plates = machine.plates;
    if (std::max(plates.n_plus, plates.n_minus) > most_plate_charges) return {"too many charges", false};
    if (plan.lines * Segments::of(plates.n_plus, plates.n_minus, plates.n_places).count > INT32_MAX)
        return {"more than 2^31 - 1 blocks in a launch", false};
    DeviceGuard guard(place.device);
    if (!guard.ready()) return {guard.problem(), false};
    Stream<Machine> stream(reinterpret_cast<cudaStream_t>(place.stream));
    const Followed how = LineDriver<Machine, Stream<Machine>>(machine, plan, stream, poll).run(place.memory);
    return {stream.problem(), how == Followed::stopped};
}

}  // namespace

LineOutcome trace_lines(const PlateCharges<float>& plates, const TraceRule<float>& rule, const LineRows<float>& out,
                        const LinePlan& plan, const LinePlace& place, const Poll& poll) {
    return drive(TraceMachine<float>{plates, rule, out}, plan, place, poll);
}

LineOutcome forward_lines(const PlateCharges<float>& plates, const ForwardRule<float>& rule, const LineRows<float>& out,
                          const LinePlan& plan, const LinePlace& place, const Poll& poll) {
    return drive(ForwardMachine<float>{plates, rule, out}, plan, place, poll);
}

}  // namespace efm::cuda
