// Follows lines by the CUDA kernels on the host: in one launch, in launches of one answer, by segments, and each line alone.
// All must give the same bits, and ends near those of sums in double. Usage: line_kernels
#include "tests/device_on_host.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <tuple>

#include "lines/line_driver.h"
#include "lines/line_kernels.h"

namespace {

using namespace efm;

template <class Machine>
struct Host {
    bool looks = true;
    int launches = 0;

    bool follow(const Machine& machine, const LineStore<float>& store, int64_t turns, bool begins, int64_t round) {
        ++launches;
        cuda::with_features(machine.plates.d, [&](auto features, auto exact) {
            cuda::fibers.launch(store.lines, [&] {
                cuda::follow<Machine, features.value, exact.value>(machine, store, turns, begins, round);
            });
        });
        return true;
    }
    bool sums(const Machine& machine, const LineStore<float>& store) {
        ++launches;
        cuda::with_features(machine.plates.d, [&](auto features, auto exact) {
            cuda::fibers.launch(store.lines * store.segments.count,
                                 [&] { cuda::sums<features.value, exact.value>(machine.plates, store); });
        });
        return true;
    }
    bool advance(const Machine& machine, const LineStore<float>& store, int64_t round) {
        ++launches;
        cuda::fibers.launch(store.lines, [&] { cuda::advance<Machine>(machine, store, round); });
        return true;
    }
    bool clear(const LineStore<float>& store) { return *store.left = 0, true; }
    bool left(const LineStore<float>& store, int64_t& round) { return round = *store.left, true; }
};

// The charges, starts and rules of a case, and the rows that it fills.
struct Case {
    int d;
    int64_t n_plus, n_minus, lines, capacity = 40;
    std::vector<float> plus, minus, x, z, center, axis;

    Case(int d, int64_t n_plus, int64_t n_minus, int64_t lines) : d(d), n_plus(n_plus), n_minus(n_minus), lines(lines) {
        std::mt19937 random(7);
        std::normal_distribution<float> normal;
        const auto fill = [&](std::vector<float>& values, int64_t count) {
            values.resize(count);
            for (float& value : values) value = normal(random);
        };
        fill(plus, n_plus * d);
        fill(minus, n_minus * d);
        fill(x, lines * d);
        z.assign(lines, 0.4f);
        if (lines > 1) x[0] = NAN;
        if (lines > 2) z[1] = 0.0f, std::copy_n(plus.data() + d, d, x.data() + d);  // on a charge
        center.assign(d, 0.0f);
        axis.assign(d + 1, 0.0f);
        axis[d] = -1.0f;
    }

    PlateCharges<float> plates() const { return {plus.data(), minus.data(), minus.data(), n_plus, n_minus, n_minus, d, 3.0f}; }
};

struct Rows {
    std::vector<float> end, end_z, length, path;
    std::vector<int64_t> status, place, evaluations, points;

    explicit Rows(const Case& c)
        : end(c.lines * c.d, -7.0f), end_z(c.lines), length(c.lines), path(c.lines * c.capacity * (c.d + 1)),
          status(c.lines, -7), place(c.lines), evaluations(c.lines), points(c.lines) {}

    LineRows<float> of(const Case& c, int64_t first, int64_t lines) {
        return {lines, c.x.data() + first * c.d, c.z.data() + first, end.data() + first * c.d, end_z.data() + first,
                status.data() + first, place.data() + first, evaluations.data() + first, length.data() + first,
                path.data() + first * c.capacity * (c.d + 1), points.data() + first, c.capacity, 2};
    }

    static bool same(const std::vector<float>& a, const std::vector<float>& b) {
        return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    }
    bool operator==(const Rows& o) const {
        return same(end, o.end) && same(end_z, o.end_z) && same(length, o.length) && same(path, o.path) &&
               status == o.status && place == o.place && evaluations == o.evaluations && points == o.points;
    }
};

Tableau<float> tableau(int stages) {
    Tableau<float> t{};
    t.stages = stages;
    for (int s = 1; s < stages; ++s) t.a[s - 1][s - 1] = s + 1 < stages ? 0.5f : 1.0f;
    for (int s = 0; s < stages; ++s) t.weights[s] = 1.0f / stages;
    return t;
}

TraceMachine<float> trace(const Case& c, const LineRows<float>& rows, bool embedded) {
    TraceRule<float> rule{tableau(embedded ? 3 : 2), embedded, 0.8f, 0.1f, 0.2f, 12.0f, c.center.data(), c.axis.data(), 10};
    if (embedded) rule.tableau.error[0] = 0.1f, rule.tableau.error[1] = -0.1f;
    return {c.plates(), rule, rows};
}

ForwardMachine<float> forward(const Case& c, const LineRows<float>& rows) {
    static const float z[] = {0.4f, 0.8f, 0.8f, 1.4f, 1.4f, 2.0f, 2.0f, 2.6f};
    static const float dz_dt[] = {1, 1, 1, 1, 1, 1, 1, 1}, next_z[] = {0.8f, 1.4f, 2.0f, 2.6f};
    return {c.plates(), {tableau(2), 4, 0.5f, 30.0f, z, dz_dt, next_z}, rows};
}

// The same machine with the field and the nearest charges in double.
template <class Machine>
void follow_in_double(const Machine& machine, int64_t index) {
    const PlateCharges<float>& p = machine.plates;
    std::vector<float> rows(line_rows * (p.d + 1)), direction(p.d + 1);
    LineState<float> line;
    line.rows = rows.data();
    line.n = p.d + 1;
    start(line, machine.out, index);
    const auto distance2 = [&](const float* at, const float* charges, int64_t j, float height) {
        double r2 = static_cast<double>(height) * height;
        for (int k = 0; k < p.d; ++k) r2 += std::pow(static_cast<double>(at[k]) - charges[j * p.d + k], 2);
        return r2;
    };
    for (Need need = machine.need(line); need != Need::nothing; need = machine.need(line)) {
        double best[3] = {HUGE_VAL, HUGE_VAL, HUGE_VAL}, square = 0.0;
        NearestCharges<float> near{};
        std::vector<double> sum(p.d + 1);
        const float* at = need == Need::nearest ? line.base() : line.point();
        for (int s = 0; s < 2; ++s)
            for (int64_t j = 0; j < (s ? p.n_minus : p.n_plus); ++j) {
                const float height = at[p.d] - (s ? p.L : 0.0f);
                const double r2 = distance2(at, s ? p.minus : p.plus, j, height), scale = p.L * p.L;
                const double weight = std::pow(r2 / scale, -0.5 * (p.d + 1)) * (s ? -1.0 / p.n_minus : 1.0 / p.n_plus);
                for (int k = 0; k <= p.d; ++k)
                    sum[k] += weight * (k < p.d ? at[k] - (s ? p.minus : p.plus)[j * p.d + k] : height);
                if (r2 < best[s]) {
                    if (s) best[2] = best[1], near.minus_index = j;
                    else near.plus_index = j;
                    best[s] = r2;
                } else if (s && r2 < best[2]) best[2] = r2;
            }
        for (double part : sum) square += part * part;
        const bool on_charge = std::min(best[0], best[1]) < 1e-30;
        for (int k = 0; k <= p.d; ++k) direction[k] = on_charge ? 0.0f : static_cast<float>(sum[k] / std::sqrt(square));
        near.plus = std::sqrt(best[0]), near.minus = std::sqrt(best[1]), near.second_minus = std::sqrt(best[2]);
        if (need == Need::nearest) machine.approach(line, near);
        else machine.feed(line, direction.data());
    }
    write(line, machine.out);
}

template <class Machine>
Followed follow(const Machine& machine, const LinePlan& plan, Host<Machine>& host, const Poll& poll = {}) {
    const PlateCharges<float>& p = machine.plates;
    const int segments = Segments::of(p.n_plus, p.n_minus, p.n_places).count;
    std::vector<double> memory((LineStore<float>::bytes(plan.lines, p.d + 1, segments) + 7) / 8, 1e300);
    return LineDriver<Machine, Host<Machine>>(machine, plan, host, poll).run(memory.data());
}

template <class Make>
int check(const std::string& name, const Case& c, const Make& make) {
    using Machine = decltype(make(LineRows<float>{}));
    int wrong = 0;
    const auto expect = [&](bool holds, const char* what) {
        if (!holds) std::printf("%s, d = %d, %ld charges: %s\n", name.c_str(), c.d, static_cast<long>(c.n_plus), what), ++wrong;
    };
    Rows whole(c), wide(c);
    const Machine machine = make(whole.of(c, 0, c.lines));
    const int64_t most = machine.most_turns();
    Host<Machine> once;
    expect(follow(machine, {false, c.lines, most}, once) == Followed::done && once.launches == 1, "expected one launch");
    for (int64_t i = 0; i < c.lines; ++i) follow_in_double(make(wide.of(c, 0, c.lines)), i);
    for (int64_t i = 0; i < c.lines; ++i) {
        expect(whole.status[i] == wide.status[i] && whole.place[i] == wide.place[i], "ends elsewhere than in double");
        expect(!(std::fabs(whole.length[i] - wide.length[i]) > 2e-3f * wide.length[i]), "not as long as in double");
        expect(whole.evaluations[i] <= most, "more evaluations than most_turns");
    }
    const auto again = [&](const LinePlan& plan, bool looks, const char* what) {
        Rows rows(c);
        Host<Machine> host;
        host.looks = looks;
        expect(follow(make(rows.of(c, 0, c.lines)), plan, host) == Followed::done && rows == whole, what);
        expect(host.launches > 1, "expected more launches");
    };
    again({false, c.lines, 3}, true, "launches of 3 answers have other bits");
    again({false, c.lines, most / 2}, false, "launches without a look have other bits");
    again({false, 2, 7}, true, "2 lines at a time have other bits");
    again({true, c.lines, 4}, true, "segments have other bits");
    again({true, 2, 5}, false, "segments without a look have other bits");
    cuda::fibers.reversed = true;
    again({false, c.lines, 4}, true, "threads in another order have other bits");
    again({true, c.lines, 4}, true, "segments by threads in another order have other bits");
    cuda::fibers.reversed = false;
    Rows alone(c);
    for (int64_t i = 0; i < c.lines; ++i) {
        Host<Machine> host;
        follow(make(alone.of(c, i, 1)), {i % 2 == 0, 1, 50}, host);
    }
    expect(alone == whole, "a line alone has other bits");
    Rows stopped(c);
    Host<Machine> host;
    expect(follow(make(stopped.of(c, 0, c.lines)), {false, c.lines, 2}, host, [] { return true; }) == Followed::stopped &&
               host.launches == 1, "the poll did not stop it after one launch");
    return wrong;
}

}  // namespace

int main() {
    int wrong = 0;
    for (const auto& [d, n_plus, n_minus] : {std::tuple{2, 60, 7}, {2, 20001, 300}, {5, 9000, 17000}}) {
        const Case c(d, n_plus, n_minus, 4);
        wrong += check("trace", c, [&](const LineRows<float>& rows) { return trace(c, rows, d == 5); });
        if (d == 2) wrong += check("forward", c, [&](const LineRows<float>& rows) { return forward(c, rows); });
    }
    std::printf("line kernels on the host: %d wrong\n", wrong);
    return wrong != 0;
}
