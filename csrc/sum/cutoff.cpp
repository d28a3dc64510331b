#include "sum/cutoff.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace efm {

double cutoff_of(const Request& r) {
    double spread = 1.0;
    if (r.weight) {
        double low = std::numeric_limits<double>::infinity(), high = 0.0;
        for (int64_t j = 0; j < r.y.rows; ++j) {
            const double q = std::fabs(r.weight[j]);
            if (q == 0.0) continue;
            low = std::min(low, q);
            high = std::max(high, q);
        }
        if (high > 0.0) spread = high / low;
    }
    return std::max(-126.0, -26.0 - std::log2(static_cast<double>(r.y.rows)) - std::log2(spread));
}

}  // namespace efm
