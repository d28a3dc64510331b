// The functions that Python calls to follow field lines and to step samples. Only module.cpp includes this header.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/arguments.h"
#include "bindings/line_records.h"
#include "lines/line_plan.h"
#include "lines/lines.h"
#include "lines/slope_step.h"
#if defined(EFM_FAST_CUDA)
#include "lines/lines_cuda.h"
#include "lines/slope_step_cuda.h"
#endif

namespace efm {

// The device and the stream of CUDA work. A device below 0 is the CPU.
struct Stream {
    int device;
    Address stream;
};

inline void raise(const std::string& problem) {
    if (!problem.empty()) throw std::runtime_error(problem);
}

template <class T>
bool follow(const PlatesRecord& plates, const TraceRecord& rule, const RowsRecord& rows, int threads, const Poll& poll) {
    const auto p = plates.as<T>();
    const auto t = rule.as<T>();
    const auto r = rows.as<T>();
    py::gil_scoped_release release;
    return trace_lines(p, t, r, threads, poll);
}

template <class T>
bool follow(const PlatesRecord& plates, const ForwardRecord& rule, const RowsRecord& rows, int threads, const Poll& poll) {
    const auto p = plates.as<T>();
    const auto f = rule.as<T>();
    const auto r = rows.as<T>();
    py::gil_scoped_release release;
    return forward_lines(p, f, r, threads, poll);
}

// Binds a function that follows lines on the CPU by one kind of rule. It writes to the addresses in `rows`.
template <class Rule>
void bind_follow(py::module_& module, const Poll& poll, const char* name, const char* text) {
    module.def(
        name,
        [poll](const PlatesRecord& plates, const Rule& rule, const RowsRecord& rows, bool is_double, int threads) {
            need(threads >= 1, "lines: expected threads");
            const bool finished = is_double ? follow<double>(plates, rule, rows, threads, poll)
                                            : follow<float>(plates, rule, rows, threads, poll);
            if (!finished) throw py::error_already_set();
        },
        py::arg("plates"), py::arg("rule"), py::arg("rows"), py::arg("is_double"), py::arg("threads"), text);
}

// Runs one step of samples between two calls of a network.
inline void run_slope_step(const StepRecord& step, int threads, const Stream& place) {
    need(threads >= 1, "slope_step: expected threads");
    const StepRows rows = step.rows();
    const SlopeOfDirection direction{to<const float>(step.direction)};
    const SlopeOfMeans means = step.means();
    py::gil_scoped_release release;
    if (place.device < 0) return step.of_direction() ? slope_step(rows, direction, threads) : slope_step(rows, means, threads);
#if defined(EFM_FAST_CUDA)
    raise(step.of_direction() ? cuda::slope_step(rows, direction, place.device, place.stream)
                              : cuda::slope_step(rows, means, place.device, place.stream));
#else
    throw std::runtime_error("built without CUDA");
#endif
}

inline void bind_line_records(py::module_& module) {
    py::class_<PlatesRecord>(module, "LinePlates", "The charges of both plates and the distinct places of the minus charges, [count, features] each.")
        .def(py::init<>())
        .def_readwrite("plus", &PlatesRecord::plus)
        .def_readwrite("minus", &PlatesRecord::minus)
        .def_readwrite("places", &PlatesRecord::places)
        .def_readwrite("n_plus", &PlatesRecord::n_plus)
        .def_readwrite("n_minus", &PlatesRecord::n_minus)
        .def_readwrite("n_places", &PlatesRecord::n_places)
        .def_readwrite("features", &PlatesRecord::features)
        .def_readwrite("L", &PlatesRecord::L);
    py::class_<RowsRecord>(module, "LineRows", "Where lines start and where their ends are written, one row per line.")
        .def(py::init<>())
        .def_readwrite("count", &RowsRecord::count)
        .def_readwrite("capacity", &RowsRecord::capacity)
        .def_readwrite("every", &RowsRecord::every)
        .def_readwrite("x", &RowsRecord::x)
        .def_readwrite("z", &RowsRecord::z)
        .def_readwrite("end", &RowsRecord::end)
        .def_readwrite("end_z", &RowsRecord::end_z)
        .def_readwrite("length", &RowsRecord::length)
        .def_readwrite("status", &RowsRecord::status)
        .def_readwrite("place", &RowsRecord::place)
        .def_readwrite("evaluations", &RowsRecord::evaluations)
        .def_readwrite("path", &RowsRecord::path)
        .def_readwrite("path_points", &RowsRecord::path_points);
    py::class_<StepRecord>(module, "SlopeStep", "One step of samples along a slope.")
        .def(py::init<>())
        .def_readwrite("out", &StepRecord::out)
        .def_readwrite("base", &StepRecord::base)
        .def_readwrite("direction", &StepRecord::direction)
        .def_readwrite("count", &StepRecord::count)
        .def_readwrite("features", &StepRecord::features)
        .def_readwrite("scale", &StepRecord::scale)
        .def_readwrite("steepest", &StepRecord::steepest)
        .def_readwrite("at", &StepRecord::at)
        .def_readwrite("share", &StepRecord::share)
        .def_readwrite("plus", &StepRecord::plus)
        .def_readwrite("minus", &StepRecord::minus)
        .def_readwrite("z", &StepRecord::z)
        .def_readwrite("L", &StepRecord::L);
}

inline void bind_line_rules(py::module_& module) {
    py::class_<TableauRecord>(module, "Tableau",
                              "An explicit Runge-Kutta method; `error` holds the error weights of an embedded pair.")
        .def(py::init<>())
        .def_readwrite("rows", &TableauRecord::rows)
        .def_readwrite("weights", &TableauRecord::weights)
        .def_readwrite("error", &TableauRecord::error);
    py::class_<TraceRecord>(module, "TraceRule", "How lines go from charge to charge.")
        .def(py::init<>())
        .def_readwrite("tableau", &TraceRecord::tableau)
        .def_readwrite("embedded", &TraceRecord::embedded)
        .def_readwrite("step", &TraceRecord::step)
        .def_readwrite("tolerance", &TraceRecord::tolerance)
        .def_readwrite("capture", &TraceRecord::capture)
        .def_readwrite("far", &TraceRecord::far)
        .def_readwrite("center", &TraceRecord::center)
        .def_readwrite("axis", &TraceRecord::axis)
        .def_readwrite("max_steps", &TraceRecord::max_steps);
    py::class_<ForwardRecord>(module, "ForwardRule", "How lines go from plate to plate by heights.")
        .def(py::init<>())
        .def_readwrite("tableau", &ForwardRecord::tableau)
        .def_readwrite("steps", &ForwardRecord::steps)
        .def_readwrite("dt", &ForwardRecord::dt)
        .def_readwrite("steepest", &ForwardRecord::steepest)
        .def_readwrite("z", &ForwardRecord::z)
        .def_readwrite("dz_dt", &ForwardRecord::dz_dt)
        .def_readwrite("next_z", &ForwardRecord::next_z);
}

inline LineWork work_of(int64_t lines, const PlatesRecord& plates, int multiprocessors) {
    need(plates.n_plus >= 1 && plates.n_minus >= 1 && plates.n_places >= 1 && plates.features >= 1,
         "plates: expected charges and features");
    return {lines, plates.n_plus, plates.n_minus, plates.features, multiprocessors};
}

inline int64_t store_bytes(const LinePlan& plan, const PlatesRecord& plates) {
    return LineStore<float>::bytes(plan.lines, plates.features + 1, work_of(plan.lines, plates, 1).segments());
}

inline void bind_line_plan(py::module_& module) {
    py::class_<LinePlan>(module, "LinePlan",
                         "How lines on a device are divided into launches: whether many blocks share a line's charges, the "
                         "lines under way at the same time, and the answers that a line gets between two looks of the host.")
        .def_readwrite("split", &LinePlan::split)
        .def_readwrite("lines", &LinePlan::lines)
        .def_readwrite("turns", &LinePlan::turns);
    module.def(
        "line_plan",
        [](int64_t lines, const PlatesRecord& plates, int multiprocessors) {
            need(lines >= 0 && multiprocessors >= 1, "line_plan: expected lines and multiprocessors");
            return plan_lines(work_of(lines, plates, multiprocessors));
        },
        py::arg("lines"), py::arg("plates"), py::arg("multiprocessors"), "The plan for lines between these plates.");
    module.def(
        "line_seconds",
        [](int64_t lines, const PlatesRecord& plates, int multiprocessors) {
            const LineWork work = work_of(lines, plates, multiprocessors);
            return py::make_tuple(seconds_whole(work, lines), seconds_split(work, lines));
        },
        py::arg("lines"), py::arg("plates"), py::arg("multiprocessors"),
        "Predicted seconds of one answer to each of the lines on an H200: a block for each line, and a block for each segment.");
    module.def(
        "line_store_bytes",
        [](const LinePlan& plan, const PlatesRecord& plates) { return store_bytes(plan, plates); }, py::arg("plan"),
        py::arg("plates"), "Bytes on the device for the lines that are under way.");
}

#if defined(EFM_FAST_CUDA)
// Binds a function that follows lines on a CUDA device by one kind of rule.
template <class Rule, class NativeRule>
void bind_cuda_follow(py::module_& module, const Poll& poll, const char* name,
                      cuda::LineOutcome (*follow)(const PlateCharges<float>&, const NativeRule&, const LineRows<float>&,
                                                  const LinePlan&, const cuda::LinePlace&, const Poll&)) {
    module.def(
        name,
        [poll, follow](const PlatesRecord& plates, const Rule& rule, const RowsRecord& rows, const LinePlan& plan,
                       const std::pair<int, Address>& place, const std::pair<Address, int64_t>& memory) {
            need(plan.lines >= 1 && plan.turns >= 1, "plan: expected lines and turns");
            need(memory.first % 8 == 0 && memory.second >= store_bytes(plan, plates), "memory: expected line_store_bytes");
            const auto p = plates.as<float>();
            const auto how = rule.template as<float>();
            const auto out = rows.as<float>();
            cuda::LineOutcome outcome;
            {
                py::gil_scoped_release release;
                outcome = follow(p, how, out, plan, {place.first, place.second, to<void>(memory.first)}, poll);
            }
            if (outcome.stopped) throw py::error_already_set();
            raise(outcome.problem);
        },
        py::arg("plates"), py::arg("rule"), py::arg("rows"), py::arg("plan"), py::arg("place"), py::arg("memory"),
        "The same lines on a CUDA device, in launches of bounded length. `place` is a device and a stream, `memory` an "
        "address on the device and its bytes. Ctrl-C stops it between two launches.");
}

inline void bind_cuda_lines(py::module_& module, const Poll& poll) {
    bind_cuda_follow<TraceRecord, TraceRule<float>>(module, poll, "cuda_trace_lines", cuda::trace_lines);
    bind_cuda_follow<ForwardRecord, ForwardRule<float>>(module, poll, "cuda_forward_lines", cuda::forward_lines);
}
#endif

inline void bind_lines(py::module_& module, const Poll& poll) {
    bind_line_records(module);
    bind_line_rules(module);
    bind_line_plan(module);
    bind_follow<TraceRecord>(module, poll, "trace_lines",
                             "Lines of the exact field from given points to the negative charges, on the CPU.");
    bind_follow<ForwardRecord>(module, poll, "forward_lines",
                               "Lines of the exact field from plate to plate by heights, on the CPU.");
#if defined(EFM_FAST_CUDA)
    bind_cuda_lines(module, poll);
#endif
    module.def(
        "slope_step",
        [](const StepRecord& step, int threads, int device, Address stream) {
            run_slope_step(step, threads, {device, stream});
        },
        py::arg("step"), py::arg("threads"), py::arg("device") = -1, py::arg("stream") = 0,
        "One step of samples along the slope of a learned field.");
    module.attr("line_dimension_cuda") = line_dimension_cuda;
}

}  // namespace efm
