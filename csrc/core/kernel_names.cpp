#include "core/kernel_names.h"

#include <algorithm>
#include <stdexcept>

namespace efm {
namespace {

struct Row {
    std::string name;
    int parameter_count;
};

template <class... Function>
std::vector<Row> rows_of(FunctionList<Function...>) {
    static_assert(((Function::parameter_count <= Kernel::most_parameters) && ...), "raise most_parameters");
    return {Row{Function::name, Function::parameter_count}...};
}

}  // namespace

std::vector<std::string> kernel_names() {
    std::vector<std::string> names;
    for (const Row& row : rows_of(KernelFunctions())) names.push_back(row.name);
    return names;
}

Kernel find_kernel(const std::string& name, const std::vector<double>& parameters) {
    Kernel kernel{};
    for (const Row& row : rows_of(KernelFunctions())) {
        if (row.name == name) {
            if (static_cast<int>(parameters.size()) != row.parameter_count)
                throw std::invalid_argument("kernel " + name + ": expected " + std::to_string(row.parameter_count) +
                                            " parameters, got " + std::to_string(parameters.size()));
            std::copy(parameters.begin(), parameters.end(), kernel.parameters);
            return kernel;
        }
        ++kernel.index;
    }
    throw std::invalid_argument("kernel: the extension does not know " + name);
}

}  // namespace efm
