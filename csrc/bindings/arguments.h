// Checks of the bindings' arguments, and the call of the core: it takes addresses, runs without the GIL and stops at Ctrl-C.
// A wrong argument must raise an error here, because the core would crash on it.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <tuple>

#include "core/request.h"

namespace efm {

namespace py = pybind11;

inline void need(bool holds, const char* text) {
    if (!holds) throw std::invalid_argument(text);
}

using Address = std::uintptr_t;

template <class T>
T* to(Address address) {
    return reinterpret_cast<T*>(address);
}

// The tuple that efm_fast.native.matrix makes.
using MatrixTuple = std::tuple<Address, Dtype, int64_t, int64_t, int64_t, int64_t>;

inline Matrix matrix(const MatrixTuple& t) {
    const auto& [data, dtype, rows, cols, row_stride, col_stride] = t;
    need(rows >= 0 && cols >= 1, "matrix: expected at least one column");
    need(data != 0 || rows == 0, "matrix: expected an address");
    return {to<const void>(data), dtype, rows, cols, row_stride, col_stride};
}

// Runs pending signal handlers. Returns true if one of them raised; the Python error stays set for the caller.
inline bool python_wants_to_stop() {
    py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

// Calls f without the GIL. f returns false if python_wants_to_stop stopped it; the Python error is then thrown.
template <class F>
void without_gil(F&& f) {
    bool finished;
    {
        py::gil_scoped_release release;
        finished = f();
    }
    if (!finished) throw py::error_already_set();
}

}  // namespace efm
