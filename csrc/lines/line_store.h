// Lines between two launches, for host and device code: everything that a line needs to go on lies in one piece of memory
// of the caller.
#pragma once

#include "lines/line_machines.h"
#include "lines/segments.h"

namespace efm {

// The lines [first, first + lines) of a bundle.
template <class T>
struct LineStore {
    double* partial;      // [lines, partial_width(n), segments]; nothing if there is one segment
    LineState<T>* state;  // [lines]
    int64_t* left;        // the last round that left a line unfinished
    T* rows;              // [lines, line_rows, n]
    Need* need;           // [lines], what each line waits for
    int64_t first, lines;
    int n;
    Segments segments;

    // Lays out the store in `memory`, which is aligned to 8 bytes.
    static LineStore at(void* memory, int64_t first, int64_t lines, int n, const Segments& segments) {
        LineStore store;
        store.partial = static_cast<double*>(memory);
        store.state = reinterpret_cast<LineState<T>*>(store.partial + lines * partials(n, segments.count));
        store.left = reinterpret_cast<int64_t*>(store.state + lines);
        store.rows = reinterpret_cast<T*>(store.left + 1);
        store.need = reinterpret_cast<Need*>(store.rows + lines * line_rows * n);
        store.first = first;
        store.lines = lines;
        store.n = n;
        store.segments = segments;
        return store;
    }

    static int64_t bytes(int64_t lines, int n, int segments) {
        const int64_t line = partials(n, segments) * sizeof(double) + sizeof(LineState<T>) + line_rows * n * sizeof(T) +
                             sizeof(Need);
        return lines * line + sizeof(int64_t);
    }

    EFM_HD double* partial_of(int64_t i) const { return partial + i * partial_width(n) * segments.count; }
    EFM_HD T* rows_of(int64_t i) const { return rows + i * line_rows * n; }

private:
    static int64_t partials(int n, int segments) {
        return segments > 1 ? static_cast<int64_t>(partial_width(n)) * segments : 0;
    }
};

// Copies a line to the store; `lane` of `lanes` threads takes its share. The line keeps its own rows.
template <class T>
EFM_HD inline void keep(const LineState<T>& line, Need need, const LineStore<T>& store, int64_t i, int lane, int lanes) {
    T* rows = store.rows_of(i);
    for (int k = lane; k < line_rows * store.n; k += lanes) rows[k] = line.rows[k];
    if (lane) return;
    store.state[i] = line;
    store.need[i] = need;
}

// Copies a line from the store to `rows` and `line`.
template <class T>
EFM_HD inline void take_up(LineState<T>& line, T* rows, const LineStore<T>& store, int64_t i, int lane, int lanes) {
    const T* kept = store.rows_of(i);
    for (int k = lane; k < line_rows * store.n; k += lanes) rows[k] = kept[k];
    if (lane) return;
    line = store.state[i];
    line.rows = rows;
}

}  // namespace efm
