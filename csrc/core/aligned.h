// Arrays aligned to cache lines. Arrays of 2 MiB or more are aligned to large pages and ask the system for them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace efm {

struct Aligned {
    struct Free {
        void operator()(void* p) const { std::free(p); }
    };
    template <class T>
    using Array = std::unique_ptr<T[], Free>;

    template <class T>
    static Array<T> make(int64_t count) {
        const size_t unit = static_cast<size_t>(count) * sizeof(T) >= size_t{2} << 20 ? size_t{2} << 20 : 64;
        const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + unit - 1) / unit * unit;
        void* p = std::aligned_alloc(unit, std::max(bytes, unit));
        if (!p) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (unit > 64) madvise(p, bytes, MADV_HUGEPAGE);  // fewer page faults; the system may refuse
#endif
        return Array<T>(static_cast<T*>(p));
    }
};

}  // namespace efm
