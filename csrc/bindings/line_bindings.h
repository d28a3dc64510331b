// What Python says of lines and updates, as the records of line.h and update_step.h. Part of the bindings: included by them alone.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vector>

#include "lines/lines.h"
#include "bindings/need.h"
#include "lines/slope_step.h"
#if defined(EFM_FAST_CUDA)
#include "lines/lines_cuda.h"
#include "lines/slope_step_cuda.h"
#endif

namespace efm {

namespace py = pybind11;

template <class T>
T* address(const py::dict& from, const char* name) {
    return reinterpret_cast<T*>(from[name].cast<std::uintptr_t>());
}

template <class T>
PlateCharges<T> plate_charges(const py::dict& d) {
    for (const char* name : {"plus", "minus"}) need(address<T>(d, name) != nullptr, "plates: expected addresses");
    for (const char* name : {"n_plus", "n_minus", "features"})
        need(d[name].cast<int64_t>() >= 1, "plates: expected charges and features");
    return {address<const T>(d, "plus"), address<const T>(d, "minus"), d["n_plus"].cast<int64_t>(),
            d["n_minus"].cast<int64_t>(), d["features"].cast<int>(), d["L"].cast<T>()};
}

template <class T>
LineRows<T> line_rows_of(const py::dict& d) {
    const auto count = d["count"].cast<int64_t>(), capacity = d["capacity"].cast<int64_t>();
    need(count >= 0 && capacity >= 0 && d["every"].cast<int>() >= 1, "rows: expected counts, and every at least 1");
    for (const char* name : {"x", "z", "end", "end_z", "status", "charge", "evaluations", "length", "path_points"})
        need(count == 0 || address<T>(d, name) != nullptr, "rows: expected addresses");
    return {d["count"].cast<int64_t>(), address<const T>(d, "x"), address<const T>(d, "z"), address<T>(d, "end"),
            address<T>(d, "end_z"), address<int64_t>(d, "status"), address<int64_t>(d, "charge"),
            address<int64_t>(d, "evaluations"), address<T>(d, "length"), address<T>(d, "path"),
            address<int64_t>(d, "path_points"), d["capacity"].cast<int64_t>(), d["every"].cast<int>()};
}

template <class T>
Tableau<T> tableau(const py::dict& d) {
    const auto a = d["a"].cast<std::vector<std::vector<double>>>();
    const auto weights = d["weights"].cast<std::vector<double>>();
    const auto error = d["error"].cast<std::vector<double>>();
    if (weights.empty() || weights.size() > line_max_stages || a.size() != weights.size() - 1)
        throw std::invalid_argument("tableau: expected 1 to 7 weights and one row fewer");
    Tableau<T> t{};
    t.stages = static_cast<int>(weights.size());
    for (size_t s = 0; s < a.size(); ++s)
        for (size_t k = 0; k < a[s].size() && k <= s; ++k) t.a[s][k] = static_cast<T>(a[s][k]);
    for (size_t s = 0; s < weights.size(); ++s) t.weights[s] = static_cast<T>(weights[s]);
    for (size_t s = 0; s < error.size() && s < weights.size(); ++s) t.error[s] = static_cast<T>(error[s]);
    return t;
}

template <class T>
TraceRule<T> trace_rule(const py::dict& d) {
    need(address<T>(d, "center") && address<T>(d, "axis"), "rule: expected addresses of center and axis");
    need(d["max_steps"].cast<int>() >= 1, "rule: expected at least one step");
    return {tableau<T>(d), d["embedded"].cast<bool>(), d["step"].cast<T>(), d["tolerance"].cast<T>(),
            d["capture"].cast<T>(), d["far"].cast<T>(), address<const T>(d, "center"), address<const T>(d, "axis"),
            d["max_steps"].cast<int>()};
}

template <class T>
ForwardRule<T> forward_rule(const py::dict& d) {
    for (const char* name : {"z", "dz_dt", "next_z"}) need(address<T>(d, name) != nullptr, "rule: expected addresses");
    need(d["steps"].cast<int>() >= 1, "rule: expected at least one step");
    return {tableau<T>(d), d["steps"].cast<int>(), d["dt"].cast<T>(), d["steepest"].cast<T>(),
            address<const T>(d, "z"), address<const T>(d, "dz_dt"), address<const T>(d, "next_z")};
}

// One call per kind of line and place: records in, nothing out but what they point at.
template <class T>
void run_lines(bool traced, const py::dict& plates, const py::dict& rule, const py::dict& rows, int threads,
               const Poll& poll) {
    const auto p = plate_charges<T>(plates);
    const auto r = line_rows_of<T>(rows);
    need(threads >= 1, "lines: expected threads");
    bool finished;
    if (traced) {
        const auto t = trace_rule<T>(rule);
        py::gil_scoped_release release;
        finished = trace_lines(p, t, r, threads, poll);
    } else {
        const auto f = forward_rule<T>(rule);
        py::gil_scoped_release release;
        finished = forward_lines(p, f, r, threads, poll);
    }
    if (!finished) throw py::error_already_set();
}

// One update of a sampling loop, from plate means where `means` holds them, else from a direction. A device below
// zero is the CPU.
inline void run_update(std::uintptr_t out, std::uintptr_t base, int64_t count, int d, float scale, float steepest,
                       std::uintptr_t direction, const py::dict& means, int device, std::uintptr_t stream,
                       int threads) {
    need(count >= 0 && d >= 1 && threads >= 1, "slope_step: expected features and threads");
    need(count == 0 || (out && base && (direction || !means.empty())), "slope_step: expected addresses");
    const UpdateRows rows{reinterpret_cast<float*>(out), reinterpret_cast<const float*>(base), count, d, scale,
                          steepest};
    const DirectUpdate direct{reinterpret_cast<const float*>(direction)};
    MeansUpdate plate_means{};
    const bool of_means = !means.empty();
    for (const char* name : {"at", "share", "plus", "minus"})
        need(!of_means || count == 0 || address<float>(means, name) != nullptr, "means: expected addresses");
    if (of_means)
        plate_means = {address<const float>(means, "at"), address<const float>(means, "share"),
                       address<const float>(means, "plus"), address<const float>(means, "minus"),
                       means["z"].cast<float>(), means["L"].cast<float>()};
    py::gil_scoped_release release;
    if (device < 0) return of_means ? slope_step(rows, plate_means, threads) : slope_step(rows, direct, threads);
#if defined(EFM_FAST_CUDA)
    const std::string problem = of_means ? cuda::slope_step(rows, plate_means, device, stream)
                                         : cuda::slope_step(rows, direct, device, stream);
    if (!problem.empty()) throw std::runtime_error(problem);
#else
    (void)stream;
    throw std::runtime_error("built without CUDA");
#endif
}

inline void bind_lines(py::module_& module, const Poll& poll) {
    auto bind = [&](const char* name, bool traced, const char* text) {
        module.def(
            name,
            [traced, poll](const py::dict& plates, const py::dict& rule, const py::dict& rows, bool is_double,
                           int threads) {
                if (is_double) run_lines<double>(traced, plates, rule, rows, threads, poll);
                else run_lines<float>(traced, plates, rule, rows, threads, poll);
            },
            py::arg("plates"), py::arg("rule"), py::arg("rows"), py::arg("is_double"), py::arg("threads"), text);
    };
    bind("trace_lines", true, "Lines of the exact field from given points to the negative charges, on the CPU.");
    bind("forward_lines", false, "Lines of the exact field from plate to plate by heights, on the CPU.");
#if defined(EFM_FAST_CUDA)
    auto bind_cuda = [&](const char* name, bool traced, const char* text) {
        module.def(
            name,
            [traced](const py::dict& plates, const py::dict& rule, const py::dict& rows, int device,
                     std::uintptr_t stream) {
                const auto p = plate_charges<float>(plates);
                const auto r = line_rows_of<float>(rows);
                const std::string problem = traced ? cuda::trace_lines(p, trace_rule<float>(rule), r, device, stream)
                                                   : cuda::forward_lines(p, forward_rule<float>(rule), r, device, stream);
                if (!problem.empty()) throw std::runtime_error(problem);
            },
            py::arg("plates"), py::arg("rule"), py::arg("rows"), py::arg("device"), py::arg("stream"), text);
    };
    bind_cuda("cuda_trace_lines", true, "The same on a CUDA device, all steps in one launch.");
    bind_cuda("cuda_forward_lines", false, "The same on a CUDA device, all steps in one launch.");
#endif
    module.def("slope_step", &run_update, py::arg("out"), py::arg("base"), py::arg("count"), py::arg("d"),
               py::arg("scale"), py::arg("steepest"), py::arg("direction"), py::arg("means"), py::arg("device"),
               py::arg("stream"), py::arg("threads"), "One step of samples along the slope of a learned field.");
    module.attr("line_dimension_cuda") = line_dimension_cuda;
}

}  // namespace efm
