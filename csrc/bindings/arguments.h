// What the bindings ask of their arguments, and how they call the core: addresses in, the GIL released, Ctrl-C honoured.
// A wrong argument is an error in Python here and would be a crash below.
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

// As efm_fast.native.matrix makes it.
using MatrixTuple = std::tuple<Address, Dtype, int64_t, int64_t, int64_t, int64_t>;

inline Matrix matrix(const MatrixTuple& t) {
    const auto& [data, dtype, rows, cols, row_stride, col_stride] = t;
    need(rows >= 0 && cols >= 1, "matrix: expected at least one column");
    need(data != 0 || rows == 0, "matrix: expected an address");
    return {to<const void>(data), dtype, rows, cols, row_stride, col_stride};
}

// Runs pending signal handlers; true if one of them raised (the error stays set for the caller).
inline bool python_wants_to_stop() {
    py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

// Calls f, which returns false if python_wants_to_stop broke it off.
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
