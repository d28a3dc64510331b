// The one file that knows Python: raw pointers in, the GIL released, Ctrl-C honoured.
#include <pybind11/pybind11.h>

#include <chrono>
#include <tuple>

#include "backward_sum.h"
#include "cpu.h"
#include "direct_sum.h"
#include "large.h"
#include "line_bindings.h"

namespace py = pybind11;

namespace {

using efm::Dtype;
using MatrixTuple = std::tuple<std::uintptr_t, Dtype, int64_t, int64_t, int64_t, int64_t>;

efm::Matrix matrix(const MatrixTuple& t) {
    const auto& [data, dtype, rows, cols, row_stride, col_stride] = t;
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

void direct_sum(const MatrixTuple& x, const MatrixTuple& y, std::uintptr_t weight, std::uintptr_t height2,
                double softening2, efm::Kernel kernel, double power, double bandwidth, int64_t first_self, bool wide,
                std::uintptr_t m, std::uintptr_t w, std::uintptr_t v, bool is_double, int threads) {
    const efm::Request request{matrix(x), matrix(y), reinterpret_cast<const double*>(weight),
                               reinterpret_cast<const double*>(height2), softening2, kernel, power, bandwidth,
                               first_self, wide};
    const efm::Result result{reinterpret_cast<double*>(m), reinterpret_cast<void*>(w), reinterpret_cast<void*>(v),
                             is_double};
    without_gil([&] { return efm::direct_sum(request, result, threads, python_wants_to_stop); });
}

void direct_backward(const MatrixTuple& x, const MatrixTuple& y, std::uintptr_t weight, std::uintptr_t height2,
                     double softening2, efm::Kernel kernel, double power, double bandwidth, int64_t first_self,
                     bool wide, std::uintptr_t m, std::uintptr_t g_w, const MatrixTuple& g_v, std::uintptr_t g_x,
                     std::uintptr_t g_y, std::uintptr_t g_weight, std::uintptr_t g_height2, bool is_double,
                     int threads) {
    const efm::Request request{matrix(x), matrix(y), reinterpret_cast<const double*>(weight),
                               reinterpret_cast<const double*>(height2), softening2, kernel, power, bandwidth,
                               first_self, wide};
    const efm::Gradients gradients{reinterpret_cast<const double*>(m), reinterpret_cast<const double*>(g_w), matrix(g_v),
                                   reinterpret_cast<void*>(g_x), reinterpret_cast<void*>(g_y),
                                   reinterpret_cast<void*>(g_weight), reinterpret_cast<void*>(g_height2), is_double};
    without_gil([&] { return efm::direct_backward(request, gradients, threads, python_wants_to_stop); });
}

void amx_sum(const MatrixTuple& x, const MatrixTuple& y, std::uintptr_t weight, std::uintptr_t height2,
             double softening2, efm::Kernel kernel, double power, double bandwidth, int64_t first_self,
             std::uintptr_t m, std::uintptr_t w, std::uintptr_t v, int nearest, int threads) {
    const efm::Request request{matrix(x), matrix(y), reinterpret_cast<const double*>(weight),
                               reinterpret_cast<const double*>(height2), softening2, kernel, power, bandwidth,
                               first_self, false};
    without_gil([&] {
        return efm::amx_sum(request, reinterpret_cast<double*>(m), reinterpret_cast<float*>(w),
                            reinterpret_cast<float*>(v), nearest, threads, python_wants_to_stop);
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
    module.def("direct_sum", &direct_sum, py::arg("x"), py::arg("y"), py::arg("weight"), py::arg("height2"),
               py::arg("softening2"), py::arg("kernel"), py::arg("power"), py::arg("bandwidth"),
               py::arg("first_self"), py::arg("wide"), py::arg("m"), py::arg("w"), py::arg("v"),
               py::arg("is_double"), py::arg("threads"),
               "Sum over charges by direct differences into the buffers m, w and v.");
    module.def("direct_backward", &direct_backward, py::arg("x"), py::arg("y"), py::arg("weight"), py::arg("height2"),
               py::arg("softening2"), py::arg("kernel"), py::arg("power"), py::arg("bandwidth"),
               py::arg("first_self"), py::arg("wide"), py::arg("m"), py::arg("g_w"), py::arg("g_v"), py::arg("g_x"),
               py::arg("g_y"), py::arg("g_weight"), py::arg("g_height2"), py::arg("is_double"), py::arg("threads"),
               "Gradients of that sum by direct differences into zeroed buffers, 0 where not asked for.");
    module.def("amx_available", &efm::amx_available, "Whether the processor and the system offer AMX tiles.");
    module.def("amx_sum", &amx_sum, py::arg("x"), py::arg("y"), py::arg("weight"), py::arg("height2"),
               py::arg("softening2"), py::arg("kernel"), py::arg("power"), py::arg("bandwidth"),
               py::arg("first_self"), py::arg("m"), py::arg("w"), py::arg("v"), py::arg("nearest"),
               py::arg("threads"), "Sum over charges with both matrix products on AMX tiles.");

    efm::bind_lines(module, python_wants_to_stop);
}
