// Bundles of field lines of the exact field on the CPU. Each line has its own steps and its own end. Its result depends
// neither on the other lines nor on the number of threads.
#pragma once

#include "core/threads.h"
#include "lines/line.h"

namespace efm {

// Both return false if `poll` stopped them.
template <class T>
bool trace_lines(const PlateCharges<T>&, const TraceRule<T>&, const LineRows<T>&, int threads, const Poll& poll);

template <class T>
bool forward_lines(const PlateCharges<T>&, const ForwardRule<T>&, const LineRows<T>&, int threads, const Poll& poll);

}  // namespace efm
