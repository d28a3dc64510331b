// The functions that Python calls for sums over charges.
#include "bindings/sum_bindings.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>

#include "bindings/arguments.h"
#include "core/kernel_names.h"
#include "sum/direct/backward_sum.h"
#include "sum/direct/direct_sum.h"
#include "sum/image_plates/image_sum.h"
#include "sum/large/bfloat16_sum.h"
#include "sum/large/few_sum.h"
#include "sum/large/large_sum.h"

namespace efm {
namespace {

Request request(const MatrixTuple& x, const MatrixTuple& y, const Kernel& kernel, bool wide) {
    need(std::get<3>(x) == std::get<3>(y), "x, y: expected as many columns");
    Request r{};
    r.x = matrix(x);
    r.y = matrix(y);
    r.kernel = kernel;
    r.first_self = no_self;
    r.wide = wide;
    return r;
}

Result result(Address m, Address w, Address along, Address rest, bool is_double) {
    need(m && w && along && rest, "Result: expected addresses of m, w, along and rest");
    Result out{};
    out.m = to<double>(m);
    out.w = to<double>(w);
    out.along = to<double>(along);
    out.rest = to<void>(rest);
    out.is_double = is_double;
    return out;
}

Gradients gradients(Address m, Address g_w, const MatrixTuple& g_v, bool is_double) {
    need(m && g_w, "Gradients: expected addresses of m and g_w");
    Gradients g{};
    g.m = to<const double>(m);
    g.g_w = to<const double>(g_w);
    g.g_v = matrix(g_v);
    g.is_double = is_double;
    return g;
}

// Binds a pointer member as an integer address under a name in Python; 0 stands for null.
template <class Record, class T>
void bind_address(py::class_<Record>& record, const char* name, T* Record::* member) {
    record.def_property(
        name, [member](const Record& r) { return reinterpret_cast<Address>(r.*member); },
        [member](Record& r, Address address) { r.*member = to<T>(address); });
}

void bind_records(py::module_& module) {
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

    py::class_<Kernel>(module, "Kernel", "A kernel function and its parameters.")
        .def(py::init(&find_kernel), py::arg("name"), py::arg("parameters"));
    module.def("kernels", &kernel_names, "Names of the kernel functions.");

    py::class_<Request> request_class(module, "Request", "Addresses and options of a sum; keeps nothing alive.");
    request_class.def(py::init(&request), py::arg("x"), py::arg("y"), py::arg("kernel"), py::arg("wide"))
        .def_readwrite("softening2", &Request::softening2)
        .def_readwrite("first_self", &Request::first_self);
    bind_address(request_class, "weight", &Request::weight);
    bind_address(request_class, "height2", &Request::height2);
    bind_address(request_class, "centre", &Request::centre);

    py::class_<Result>(module, "Result", "Addresses of what a sum fills; keeps nothing alive.")
        .def(py::init(&result), py::arg("m"), py::arg("w"), py::arg("along"), py::arg("rest"), py::arg("is_double"));

    py::class_<Gradients> gradients_class(
        module, "Gradients",
        "Upstream gradients of a sum, and addresses of zeroed buffers for its gradients; 0 for those not needed.");
    gradients_class.def(py::init(&gradients), py::arg("m"), py::arg("g_w"), py::arg("g_v"), py::arg("is_double"));
    bind_address(gradients_class, "x", &Gradients::x);
    bind_address(gradients_class, "y", &Gradients::y);
    bind_address(gradients_class, "weight", &Gradients::weight);
    bind_address(gradients_class, "height2", &Gradients::height2);
}

void call_direct_sum(const Request& r, const Result& out, int threads) {
    need(threads >= 1 && r.x.rows >= 1 && r.y.rows >= 1, "direct_sum: expected threads, points and charges");
    need(!r.wide || !r.centre, "direct_sum: expected no centre of a sum in double");
    need(!r.centre || !out.is_double, "direct_sum: expected float displacements about a centre");
    without_gil([&] { return direct_sum(r, out, threads, python_wants_to_stop); });
}

void call_direct_backward(const Request& r, const Gradients& g, int threads) {
    need(threads >= 1 && r.x.rows >= 1 && r.y.rows >= 1, "direct_backward: expected threads, points and charges");
    need(g.g_v.rows == r.x.rows && g.g_v.cols == r.x.cols, "g_v: expected the shape of x");
    without_gil([&] { return direct_backward(r, g, threads, python_wants_to_stop); });
}

void need_large(const Request& r, const Result& out, int nearest) {
    need(nearest >= 1 && nearest <= large_max_nearest, "nearest: expected 1 to 8");
    need(r.centre && !out.is_double, "large sum: expected a centre and float displacements");
}

void call_bfloat16_sum(const Request& r, const Result& out, int nearest, int threads) {
    need(bfloat16_available(), "bfloat16_sum: this processor does not multiply bfloat16");
    need(threads >= 1, "bfloat16_sum: expected threads");
    need_large(r, out, nearest);
    without_gil([&] { return bfloat16_sum(r, out, nearest, threads, python_wants_to_stop); });
}

void call_few_sum(const Request& r, const Result& out, int threads) {
    need(threads >= 1 && r.x.rows >= 1 && r.y.rows >= 1, "few_sum: expected threads, points and charges");
    need(!r.wide && r.centre && !out.is_double, "few_sum: expected a centre and float displacements");
    without_gil([&] { return few_sum(r, out, threads, python_wants_to_stop); });
}

void bind_large_sum(py::module_& module) {
    py::class_<LargeSum>(module, "LargeSum",
                         "A sum at large D around the caller's matrix products; keeps nothing alive. In this order: "
                         "centre_points; centre_charges and weigh for every chunk of charges; finish.")
        .def(py::init([](const Request& r, const Result& out, int nearest) {
                 need_large(r, out, nearest);
                 return std::make_unique<LargeSum>(r, out, nearest);
             }),
             py::arg("request"), py::arg("result"), py::arg("nearest"))
        .def(
            "centre_points",
            [](LargeSum& sum, Address out, int threads) {
                need(threads >= 1 && out, "centre_points: expected threads and an address");
                without_gil([&] { return sum.centre_points(to<float>(out), threads, python_wants_to_stop); });
            },
            py::arg("out"), py::arg("threads"), "Points less the centre, float32 [N, D].")
        .def(
            "centre_charges",
            [](LargeSum& sum, int64_t first, int count, Address out, int threads) {
                need(threads >= 1 && out, "centre_charges: expected threads and an address");
                need(first >= 0 && count >= 1 && first + count <= sum.request().y.rows,
                     "centre_charges: expected charges of the request");
                without_gil([&] { return sum.centre_charges(first, count, to<float>(out), threads, python_wants_to_stop); });
            },
            py::arg("first"), py::arg("count"), py::arg("out"), py::arg("threads"),
            "Charges of the next chunk less the centre, float32 [count, D].")
        .def(
            "weigh",
            [](LargeSum& sum, Address products, int threads) {
                need(threads >= 1 && products, "weigh: expected threads and an address");
                need(sum.ready(), "weigh: expected centred points and charges");
                without_gil([&] { return sum.weigh(to<float>(products), threads, python_wants_to_stop); });
            },
            py::arg("products"), py::arg("threads"),
            "Turns the products of all centred points with the chunk into weights, in place, and sums the nearest charges by "
            "direct difference.")
        .def(
            "finish",
            [](LargeSum& sum) {
                py::gil_scoped_release release;
                sum.finish();
            },
            "Writes the log scales of the sums over all chunks; sums doubtful points again.");
}

void call_image_sum(const MatrixTuple& x, const MatrixTuple& y, Address weight, const MatrixTuple& heights, Address signs,
                    double power, const std::array<Address, 4>& out, int threads) {
    const Matrix points = matrix(x), charges = matrix(y), high = matrix(heights);
    for (const Matrix& a : {points, charges, high})
        need(a.row_stride == a.cols && a.col_stride == 1, "image_sum: expected rows one after the other");
    const bool wide = points.dtype == Dtype::f64;
    need(wide || points.dtype == Dtype::f32, "x: expected float32 or float64");
    need(charges.dtype == points.dtype && charges.cols == points.cols, "y: expected the dtype and columns of x");
    need(high.dtype == Dtype::f64 && high.rows == points.rows, "heights: expected float64, a row for each point");
    need(threads >= 1 && points.rows >= 1 && charges.rows >= 1, "image_sum: expected threads, points and charges");
    need(signs && power > 0 && std::all_of(out.begin(), out.end(), [](Address a) { return a != 0; }),
         "image_sum: expected addresses and a power above 0");
    const ImageRequest r{points.rows,  charges.rows, points.cols,      static_cast<int>(high.cols),
                         power,        wide,         points.data,      charges.data,
                         to<const void>(weight), static_cast<const double*>(high.data), to<const double>(signs)};
    const ImageResult result{to<double>(out[0]), to<double>(out[1]), to<double>(out[2]), to<double>(out[3])};
    without_gil([&] { return image_sum(r, result, threads, python_wants_to_stop); });
}

}  // namespace

void bind_sums(py::module_& module) {
    bind_records(module);
    module.def("direct_sum", &call_direct_sum, py::arg("request"), py::arg("result"), py::arg("threads"),
               "Sum over charges by direct differences, or by products of rows less the request's centre where it has one.");
    module.def("direct_backward", &call_direct_backward, py::arg("request"), py::arg("gradients"), py::arg("threads"),
               "Gradients of a sum over charges by direct differences.");
    module.def("bfloat16_available", &bfloat16_available, "Whether the processor multiplies bfloat16.");
    module.def("bfloat16_sum", &call_bfloat16_sum, py::arg("request"), py::arg("result"), py::arg("nearest"),
               py::arg("threads"), "Sum over charges with both matrix products of bfloat16 parts.");
    module.def("few_sum", &call_few_sum, py::arg("request"), py::arg("result"), py::arg("threads"),
               "Sum over charges at a few points: nothing is packed for them.");
    module.def("image_sum", &call_image_sum, py::arg("x"), py::arg("y"), py::arg("weight"), py::arg("heights"),
               py::arg("signs"), py::arg("power"), py::arg("out"), py::arg("threads"),
               "Sum over charges that repeat on several plates; out: addresses of m, w, u [N] and v [N, D], float64.");
    bind_large_sum(module);
}

}  // namespace efm
