// Inputs and outputs of whole field lines, for host and device code: raw pointers to contiguous rows.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define EFM_HD __host__ __device__
#else
#define EFM_HD
#endif

namespace efm {

// How a line ended; the numbers are those of efm_fast.lines.LineStatus.
enum class LineEnd : int { running = 0, front = 1, behind = 2, escaped = 3, step_limit = 4, failed = 5 };

constexpr int line_max_stages = 7;
constexpr int line_dimension_cuda = 16;  // most features of lines on a CUDA device: a warp holds them in registers

// The charges of both plates, [count, d]; the plus plate at z = 0, the minus plate at z = L. Lines end at places: those of
// the minus plate are distinct, where charges may coincide.
template <class T>
struct PlateCharges {
    const T* plus;
    const T* minus;
    const T* places;
    int64_t n_plus, n_minus, n_places;
    int d;
    T L;
};

// An explicit Runge-Kutta method, or an embedded pair whose last stage is the first of the next step.
template <class T>
struct Tableau {
    int stages;
    T a[line_max_stages - 1][line_max_stages - 1];  // row s - 1 leads to stage s
    T weights[line_max_stages];
    T error[line_max_stages];                       // embedded: fifth-order minus fourth-order weights
};

// Starts and results of lines, one row per line. A path holds every `every`-th point of a line, and its last one.
template <class T>
struct LineRows {
    int64_t count;
    const T* x;             // [count, d]
    const T* z;             // [count]
    T* end;                 // [count, d]
    T* end_z;               // [count]
    int64_t* status;        // [count]
    int64_t* place;         // [count], the place that a line reached, or -1
    int64_t* evaluations;   // [count]
    T* length;              // [count]
    T* path;                // [count, capacity, d + 1], or null
    int64_t* path_points;   // [count]
    int64_t capacity;
    int every;
};

// How a line goes from charge to charge in arc length. Its steps are proportional to the distance to the nearest charge.
template <class T>
struct TraceRule {
    Tableau<T> tableau;
    bool embedded;
    T step, tolerance;
    T capture;          // a place takes a line that is nearer to it than this fraction of the distance to any other charge
    T far;              // beyond this distance the field is taken as that of a dipole
    const T* center;    // midway between the plates' centres of charge, [d]
    const T* axis;      // unit vector of the dipole, [d + 1]
    int max_steps;
};

// How lines go from plate to plate: all follow one schedule of heights z(t) (EFM, Algorithm 2).
template <class T>
struct ForwardRule {
    Tableau<T> tableau;
    int steps;
    T dt;
    T steepest;         // the largest |dx/dz|
    const T* z;         // height of every stage, [steps, stages]
    const T* dz_dt;     // [steps, stages]
    const T* next_z;    // height after every step, [steps]
};

}  // namespace efm
