// The one file that knows Python: raw pointers in, the GIL released, Ctrl-C honoured.
#include <pybind11/pybind11.h>

#include <chrono>
#include <tuple>

#include "sum/direct/backward_sum.h"
#include "simd/cpu.h"
#include "sum/direct/direct_sum.h"
#include "sum/large/large.h"
#include "bindings/line_bindings.h"
#include "bindings/need.h"

namespace py = pybind11;

namespace {

using efm::Dtype;
using MatrixTuple = std::tuple<std::uintptr_t, Dtype, int64_t, int64_t, int64_t, int64_t>;

using efm::need;

efm::Matrix matrix(const MatrixTuple& t) {
    const auto& [data, dtype, rows, cols, row_stride, col_stride] = t;
    need(rows >= 0 && cols >= 1, "matrix: expected at least one column");
    need(data != 0 || rows == 0, "matrix: expected an address");
    return {reinterpret_cast<const void*>(data), dtype, rows, cols, row_stride, col_stride};
}

// Runs pending signal handlers; true if one of them raised (the error stays set for the caller).
bool python_wants_to_stop() {
    py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

template <class F>
void without_gil(F&& f) {
    bool finished;
    {
        py::gil_scoped_release release;
        finished = f();
    }
    if (!finished) throw py::error_already_set();
}

template <class T>
T* at(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

efm::Request request(const MatrixTuple& x, const MatrixTuple& y, std::uintptr_t weight, std::uintptr_t height2,
                     double softening2, efm::Kernel kernel, double power, double bandwidth, int64_t first_self,
                     std::uintptr_t centre, bool wide) {
    need(std::get<3>(x) == std::get<3>(y), "x, y: expected as many columns");
    return {matrix(x), matrix(y), at<const double>(weight), at<const double>(height2), softening2, kernel,
            power,     bandwidth, first_self,               at<const float>(centre),   wide};
}

efm::Result result(std::uintptr_t m, std::uintptr_t w, std::uintptr_t along, std::uintptr_t rest, bool is_double) {
    need(m && w && along && rest, "Result: expected addresses of m, w, along and rest");
    return {at<double>(m), at<double>(w), at<double>(along), at<void>(rest), is_double};
}

void direct_sum(const efm::Request& r, const efm::Result& out, int threads) {
    need(threads >= 1 && r.x.rows >= 1 && r.y.rows >= 1, "direct_sum: expected threads, points and charges");
    need(!r.wide || !r.centre, "direct_sum: expected no centre of a sum in double");
    need(!r.centre || !out.is_double, "direct_sum: expected float displacements about a centre");
    without_gil([&] { return efm::direct_sum(r, out, threads, python_wants_to_stop); });
}

void direct_backward(const efm::Request& r, std::uintptr_t m, std::uintptr_t g_w, const MatrixTuple& g_v,
                     std::uintptr_t g_x, std::uintptr_t g_y, std::uintptr_t g_weight, std::uintptr_t g_height2,
                     bool is_double, int threads) {
    need(threads >= 1 && r.x.rows >= 1 && r.y.rows >= 1, "direct_backward: expected threads, points and charges");
    need(m && g_w, "direct_backward: expected addresses of m and g_w");
    need(std::get<2>(g_v) == r.x.rows && std::get<3>(g_v) == r.x.cols, "g_v: expected the shape of x");
    const efm::Gradients gradients{at<const double>(m), at<const double>(g_w), matrix(g_v),        at<void>(g_x),
                                   at<void>(g_y),       at<void>(g_weight),    at<void>(g_height2), is_double};
    without_gil([&] { return efm::direct_backward(r, gradients, threads, python_wants_to_stop); });
}

void bfloat16_sum(const efm::Request& r, const efm::Result& out, int nearest, int threads) {
    need(efm::bfloat16_available(), "bfloat16_sum: this processor does not multiply bfloat16");
    need(threads >= 1 && nearest >= 1 && nearest <= efm::rows_max_nearest, "bfloat16_sum: expected threads, 1 to 8 nearest");
    need(r.centre && !out.is_double, "bfloat16_sum: expected a centre and float displacements");
    without_gil([&] { return efm::bfloat16_sum(r, out, nearest, threads, python_wants_to_stop); });
}

void centre_rows(const MatrixTuple& a, std::uintptr_t centre, std::uintptr_t out, std::uintptr_t squares, int threads) {
    need(threads >= 1, "centre_rows: expected threads");
    need(centre && ((out && squares) || std::get<2>(a) == 0), "centre_rows: expected addresses");
    without_gil([&] {
        return efm::centre_rows(matrix(a), at<const float>(centre), at<float>(out), at<double>(squares), threads,
                                python_wants_to_stop);
    });
}

void large_weigh(const efm::Request& r, int64_t first_charge, int charges, std::uintptr_t s, std::uintptr_t y2,
                 std::uintptr_t q, std::uintptr_t x2, int counted, float cutoff, int nearest, std::uintptr_t ref,
                 const efm::Result& out, std::uintptr_t fate, int threads) {
    need(threads >= 1 && charges >= 1 && nearest >= 1 && nearest <= efm::rows_max_nearest,
         "large_weigh: expected threads, charges and 1 to 8 nearest");
    need(first_charge >= 0 && first_charge + charges <= r.y.rows, "large_weigh: expected charges of the request");
    need(r.centre && !out.is_double, "large_weigh: expected a centre and float displacements");
    need(s && y2 && x2 && ref && fate, "large_weigh: expected addresses");
    const efm::LargeBlock block{0,
                                r.x.rows,
                                first_charge,
                                charges,
                                at<float>(s),
                                charges,
                                at<const float>(y2),
                                at<const float>(q),
                                at<const double>(x2),
                                counted,
                                cutoff,
                                nearest};
    const efm::LargeState state{at<double>(ref), out.w, out.along, static_cast<float*>(out.rest), at<uint8_t>(fate)};
    without_gil([&] { return efm::large_weigh(r, block, state, threads, python_wants_to_stop); });
}

void large_finish(const efm::Request& r, std::uintptr_t ref, const efm::Result& out, std::uintptr_t fate) {
    need(!out.is_double && ref && fate, "large_finish: expected addresses and float displacements");
    const efm::LargeState state{at<double>(ref), out.w, out.along, static_cast<float*>(out.rest), at<uint8_t>(fate)};
    without_gil([&] {
        for (int64_t i = 0; i < r.x.rows; ++i) efm::large_finish(r, state, i, out.m);
        return true;
    });
}

}  // namespace

PYBIND11_MODULE(_C, module) {
    module.doc() = "CPU kernels of efm_fast; call them through efm_fast.field.";

    py::enum_<Dtype>(module, "Dtype")
        .value("float32", Dtype::f32)
        .value("float64", Dtype::f64)
        .value("float16", Dtype::f16)
        .value("bfloat16", Dtype::bf16)
        .value("uint8", Dtype::u8)
        .value("int8", Dtype::i8)
        .value("int16", Dtype::i16)
        .value("int32", Dtype::i32)
        .value("int64", Dtype::i64);
    py::enum_<efm::Kernel>(module, "Kernel")
        .value("riesz", efm::Kernel::riesz)
        .value("gaussian", efm::Kernel::gaussian);

    module.def("instruction_set", &efm::instruction_set, "Instruction set of the kernels in use.");
    py::class_<efm::Request>(module, "Request", "Addresses and options of a sum; keeps nothing alive.")
        .def(py::init(&request), py::arg("x"), py::arg("y"), py::arg("weight"), py::arg("height2"),
             py::arg("softening2"), py::arg("kernel"), py::arg("power"), py::arg("bandwidth"), py::arg("first_self"),
             py::arg("centre"), py::arg("wide"));
    py::class_<efm::Result>(module, "Result", "Addresses of what a sum fills; keeps nothing alive.")
        .def(py::init(&result), py::arg("m"), py::arg("w"), py::arg("along"), py::arg("rest"), py::arg("is_double"));
    module.def("direct_sum", &direct_sum, py::arg("request"), py::arg("result"), py::arg("threads"),
               "Sum over charges by direct differences; far points about the request's centre, where it has one.");
    module.def("direct_backward", &direct_backward, py::arg("request"), py::arg("m"), py::arg("g_w"), py::arg("g_v"),
               py::arg("g_x"), py::arg("g_y"), py::arg("g_weight"), py::arg("g_height2"), py::arg("is_double"),
               py::arg("threads"),
               "Gradients of that sum by direct differences into zeroed buffers, 0 where not asked for.");
    module.def("bfloat16_available", &efm::bfloat16_available, "Whether the processor multiplies bfloat16.");
    module.def("bfloat16_sum", &bfloat16_sum, py::arg("request"), py::arg("result"), py::arg("nearest"), py::arg("threads"),
               "Sum over charges with both matrix products of bfloat16 parts.");
    module.def("centre_rows", &centre_rows, py::arg("a"), py::arg("centre"), py::arg("out"), py::arg("squares"),
               py::arg("threads"), "Rows less the centre as float32, and their squared norms.");
    module.def("large_cutoff", &efm::large_cutoff, py::arg("request"), "log2 of the smallest weight that can matter.");
    module.def("large_weigh", &large_weigh, py::arg("request"), py::arg("first_charge"), py::arg("charges"),
               py::arg("s"), py::arg("y2"), py::arg("q"), py::arg("x2"), py::arg("counted"),
               py::arg("cutoff"), py::arg("nearest"), py::arg("ref"), py::arg("result"), py::arg("fate"),
               py::arg("threads"),
               "A chunk's products x.y become weights; the nearest charges are summed by direct difference.");
    module.def("large_finish", &large_finish, py::arg("request"), py::arg("ref"), py::arg("result"), py::arg("fate"),
               "Name the log scale of the sums over all chunks.");
    efm::bind_lines(module, python_wants_to_stop);
}
