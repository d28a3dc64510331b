// The functions that Python calls to follow field lines and to step samples. Only module.cpp includes this header.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/arguments.h"
#include "bindings/line_records.h"
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

#if defined(EFM_FAST_CUDA)
inline void bind_cuda_lines(py::module_& module) {
    const char* text = "The same lines on a CUDA device, all steps in one launch.";
    module.def(
        "cuda_trace_lines",
        [](const PlatesRecord& plates, const TraceRecord& rule, const RowsRecord& rows, int device, Address stream) {
            raise(cuda::trace_lines(plates.as<float>(), rule.as<float>(), rows.as<float>(), device, stream));
        },
        py::arg("plates"), py::arg("rule"), py::arg("rows"), py::arg("device"), py::arg("stream"), text);
    module.def(
        "cuda_forward_lines",
        [](const PlatesRecord& plates, const ForwardRecord& rule, const RowsRecord& rows, int device, Address stream) {
            raise(cuda::forward_lines(plates.as<float>(), rule.as<float>(), rows.as<float>(), device, stream));
        },
        py::arg("plates"), py::arg("rule"), py::arg("rows"), py::arg("device"), py::arg("stream"), text);
}
#endif

inline void bind_lines(py::module_& module, const Poll& poll) {
    bind_line_records(module);
    bind_line_rules(module);
    bind_follow<TraceRecord>(module, poll, "trace_lines",
                             "Lines of the exact field from given points to the negative charges, on the CPU.");
    bind_follow<ForwardRecord>(module, poll, "forward_lines",
                               "Lines of the exact field from plate to plate by heights, on the CPU.");
#if defined(EFM_FAST_CUDA)
    bind_cuda_lines(module);
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
