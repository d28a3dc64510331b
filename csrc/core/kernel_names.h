// Finds kernel functions by name. Python asks for them so.
#pragma once

#include <string>
#include <vector>

#include "core/kernel.h"

namespace efm {

std::vector<std::string> kernel_names();

// Throws std::invalid_argument for an unknown name or a wrong number of parameters.
Kernel find_kernel(const std::string& name, const std::vector<double>& parameters);

}  // namespace efm
