// The module efm_fast._C. This folder alone knows Python.
#include <pybind11/pybind11.h>

#include "bindings/arguments.h"
#include "bindings/line_bindings.h"
#include "bindings/sum_bindings.h"
#include "simd/dispatch.h"

PYBIND11_MODULE(_C, module) {
    module.doc() = "CPU kernels of efm_fast; call them through efm_fast.field.";
    module.def("instruction_set", &efm::instruction_set_name, "Instruction set of the kernels in use.");
    efm::bind_sums(module);
    efm::bind_lines(module, efm::python_wants_to_stop);
}
