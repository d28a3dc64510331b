// Runs sums, lines and sampling steps of random shapes, types, strides and weights under the sanitizers. Buffers are
// exactly as long as the shapes say, so that a read or write past an end is found. Usage: fuzz SECONDS [SEED]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "core/kernel_names.h"
#include "simd/dispatch.h"
#include "sum/direct/backward_sum.h"
#include "sum/direct/direct_sum.h"
#include "sum/large/bfloat16_sum.h"
#include "sum/large/few_sum.h"
#include "sum/large/large_sum.h"
#include "tests/fuzz_lines.h"

namespace {

using namespace efm;

size_t size_of(Dtype t) {
    switch (t) {
        case Dtype::u8: case Dtype::i8: return 1;
        case Dtype::f16: case Dtype::bf16: case Dtype::i16: return 2;
        case Dtype::f32: case Dtype::i32: return 4;
        default: return 8;
    }
}

class Fuzz {
public:
    explicit Fuzz(unsigned seed) : random_(seed) {}

    // Returns whether every row of the result was written and none is NaN.
    bool round() {
        static const int64_t dimensions[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 70, 97, 130};
        const bool large = pick(2) == 0;
        const int64_t d = dimensions[pick(20)], n = 1 + pick(90), m = 1 + pick(large ? 900 : 300);
        const bool x_double = !large && pick(3) == 0;
        std::vector<char> x_data, y_data;
        static const Dtype narrow[] = {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::u8, Dtype::i8, Dtype::i16};
        static const Dtype any[] = {Dtype::f32, Dtype::f64, Dtype::f16, Dtype::bf16, Dtype::u8, Dtype::i8, Dtype::i16, Dtype::i32, Dtype::i64};
        Request r{};
        r.x = matrix(x_data, x_double ? Dtype::f64 : Dtype::f32, n, d, !large);
        r.y = matrix(y_data, large ? narrow[pick(6)] : any[pick(9)], m, d, true);
        std::vector<double> weight(m), height(n);
        for (auto& q : weight) q = pick(4) ? normal() : 0.0;
        for (auto& h : height) h = pick(3) ? normal() * normal() : 0.0;
        r.weight = pick(2) ? weight.data() : nullptr;
        for (auto& h : height) h = std::fabs(h);
        r.height2 = pick(2) ? height.data() : nullptr;
        r.softening2 = pick(2) ? 0.0 : 0.01;
        r.kernel = kernel(d, large);
        r.first_self = pick(3) ? no_self : pick(60) - 30;
        r.wide = x_double || pick(4) == 0;
        const std::vector<float> centre(d, pick(2) ? 4.0f : 0.5f);
        r.centre = large || (!r.wide && pick(2)) ? centre.data() : nullptr;
        if (pick(4) == 0)  // far from all charges
            for (auto& h : height) h += 1e3;
        const double unwritten = -12345.678;
        std::vector<double> log_scale(n, unwritten);
        const bool out_double = !large && x_double;
        std::vector<double> w(n), along(n);
        std::vector<char> rest(n * d * (out_double ? 8 : 4));
        const Result out{log_scale.data(), w.data(), along.data(), rest.data(), out_double};
        const int threads = 1 + static_cast<int>(pick(4));
        const Poll never = [] { return false; };
        if (large && !r.wide && pick(3) == 0) {
            if (!few_sum(r, out, threads, never)) return false;
            return std::none_of(log_scale.begin(), log_scale.end(), [&](double m) { return m == unwritten || std::isnan(m); });
        }
        if (large && (!bfloat16_available() || pick(2))) return around_products(r, out, threads);
        const bool finished =
            large ? bfloat16_sum(r, out, pick(2) ? 8 : 1, threads, never) : direct_sum(r, out, threads, never);
        for (double value : log_scale)
            if (value == unwritten || std::isnan(value)) return false;
        return finished && (large || backward(r, log_scale, threads));
    }

private:
    Kernel kernel(int64_t d, bool large) {
        double power = pick(2) ? static_cast<double>(d + 1) : 0.5 + pick(80) * 0.5;
        if (large && pick(2)) power = 10.0 * (d + 1);  // few pairs matter, and the others are screened out
        return pick(4) ? find_kernel("riesz", {power}) : find_kernel("gaussian", {0.1 + pick(30)});
    }

    // Runs the large sum around plain products, as Python does. Returns whether no row is NaN.
    bool around_products(const Request& r, const Result& out, int threads) {
        const int64_t n = r.x.rows, m = r.y.rows, d = r.x.cols;
        const Poll never = [] { return false; };
        LargeSum sum(r, out, pick(2) ? 8 : 1);
        std::vector<float> x(n * d);
        if (!sum.centre_points(x.data(), threads, never)) return false;
        const int64_t chunk = 1 + pick(m);
        for (int64_t first = 0; first < m; first += chunk) {
            const int count = static_cast<int>(std::min(chunk, m - first));
            std::vector<float> y(count * d), products(n * count);
            if (!sum.centre_charges(first, count, y.data(), threads, never)) return false;
            for (int64_t i = 0; i < n; ++i)
                for (int j = 0; j < count; ++j)
                    for (int64_t k = 0; k < d; ++k) products[i * count + j] += x[i * d + k] * y[j * d + k];
            if (!sum.weigh(products.data(), threads, never)) return false;
        }
        sum.finish();
        return std::none_of(out.m, out.m + n, [](double m) { return std::isnan(m); });
    }

    // Returns whether the gradients of the sum were computed to the end.
    bool backward(const Request& r, const std::vector<double>& m, int threads) {
        const int64_t n = r.x.rows, count = r.y.rows, d = r.x.cols;
        const bool is_double = r.x.dtype == Dtype::f64 || pick(4) == 0;
        std::vector<char> g_v_data;
        std::vector<double> g_w(n);
        for (auto& g : g_w) g = normal();
        const size_t size = is_double ? 8 : 4;
        std::vector<char> x(n * d * size), y(count * d * size), weight(count * size), height2(n * size);
        auto asked = [&](std::vector<char>& out) { return pick(2) ? static_cast<void*>(out.data()) : nullptr; };
        const Gradients g{m.data(), g_w.data(), matrix(g_v_data, is_double ? Dtype::f64 : Dtype::f32, n, d, true),
                          asked(x), asked(y), asked(weight), asked(height2), is_double};
        return direct_backward(r, g, threads, [] { return false; });
    }

    int64_t pick(int64_t count) { return static_cast<int64_t>(random_() % static_cast<unsigned>(count)); }
    double normal() { return std::normal_distribution<double>()(random_); }

    // Fills a matrix with small whole numbers, which every type holds, so that some points lie on charges.
    Matrix matrix(std::vector<char>& data, Dtype dtype, int64_t rows, int64_t cols, bool strides) {
        const int64_t gap = strides ? 1 + pick(3) : 1;
        const bool transposed = strides && pick(3) == 0;
        const int64_t row_stride = transposed ? gap : cols * gap, col_stride = transposed ? rows * gap : gap;
        const size_t size = size_of(dtype);
        data.assign(((rows - 1) * row_stride + (cols - 1) * col_stride + 1) * size, 0);
        for (size_t k = 0; k < data.size() / size; ++k) write(data.data() + k * size, dtype, static_cast<int>(pick(9)));
        return {data.data(), dtype, rows, cols, row_stride, col_stride};
    }

    template <class T>
    static void put(char* p, T value) { std::memcpy(p, &value, sizeof(T)); }

    static void write(char* p, Dtype dtype, int value) {
        static const uint16_t half[] = {0, 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700, 0x4800};
        const float wide = static_cast<float>(value);
        uint32_t bits;
        std::memcpy(&bits, &wide, 4);
        switch (dtype) {
            case Dtype::f32: return put(p, wide);
            case Dtype::f64: return put(p, static_cast<double>(value) * 1.0001);
            case Dtype::f16: return put(p, half[value]);
            case Dtype::bf16: return put(p, static_cast<uint16_t>(bits >> 16));
            case Dtype::u8: return put(p, static_cast<uint8_t>(value));
            case Dtype::i8: return put(p, static_cast<int8_t>(value));
            case Dtype::i16: return put(p, static_cast<int16_t>(value));
            case Dtype::i32: return put(p, static_cast<int32_t>(value));
            case Dtype::i64: return put(p, static_cast<int64_t>(value));
        }
    }

    std::mt19937 random_;
};

}  // namespace

int main(int argc, char** argv) {
    using clock = std::chrono::steady_clock;
    const auto end = clock::now() + std::chrono::seconds(argc > 1 ? std::atoi(argv[1]) : 10);
    const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
    int rounds = 0;
    for (; rounds == 0 || clock::now() < end; ++rounds) {
        const unsigned own = seed + static_cast<unsigned>(rounds);
        if (!Fuzz(own).round() || !FuzzLines<float>(own).round() || !FuzzLines<double>(own).round()) {
            std::fprintf(stderr, "seed %u: a row was not written or is not a number\n", own);
            return 1;
        }
    }
    std::printf("%d rounds on %s: nothing found\n", rounds, efm::instruction_set_name());
    return 0;
}
