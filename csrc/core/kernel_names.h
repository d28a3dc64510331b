// Kernel functions by name, as Python asks for them.
#pragma once

#include <string>
#include <vector>

#include "core/kernel.h"

namespace efm {

std::vector<std::string> kernel_names();

// Throws std::invalid_argument for a name that is not known, or another number of parameters than it has.
Kernel find_kernel(const std::string& name, const std::vector<double>& parameters);

}  // namespace efm
