// Binds the sums over charges to the module.
#pragma once

#include <pybind11/pybind11.h>

namespace efm {

void bind_sums(pybind11::module_& module);

}  // namespace efm
