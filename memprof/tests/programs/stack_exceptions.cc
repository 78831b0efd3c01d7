// stack_exceptions TURNS: C++ frames of the usual kinds, templates, virtual calls, lambdas, and
// exceptions that pass through the very frames that allocate: thrown with blocks in hand,
// allocating in destructors while they pass, caught, thrown on, nested.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define KEPT __attribute__((noinline, noclone, noipa))

namespace {

volatile long sink;

struct Shape {
    virtual ~Shape() = default;
    virtual std::string name(int depth) const = 0;
};

template <typename T, int N> struct Layer final : Shape {
    std::vector<T> values;
    explicit Layer(int count) : values(static_cast<size_t>(count) + N) {}
    KEPT std::string name(int depth) const override {
        return std::string(20 + N, static_cast<char>('a' + depth % 26)) + std::to_string(N);
    }
};

template <typename T, int N> KEPT std::unique_ptr<Shape> layer(int depth) {
    if (depth % 5 == N)
        return std::make_unique<Layer<T, N>>(depth + 1);
    return layer<T, (N + 1) % 5>(depth);
}

// Allocates when it goes, also while an exception passes.
struct Farewell {
    int depth;
    KEPT ~Farewell() {
        std::map<int, std::string> last;
        last[depth] = std::string(40, 'x');
        sink = sink + static_cast<long>(last.size());
    }
};

template <typename Action> KEPT auto guarded(int depth, const Action &action) {
    Farewell farewell{depth};
    std::unique_ptr<Shape> shape = layer<double, 0>(depth);
    auto below = action(depth - 1);
    sink = sink + static_cast<long>(shape->name(depth).size());
    return below;
}

KEPT long descend(int depth, int turn);

KEPT long rethrows(int depth, int turn) {
    try {
        return descend(depth - 1, turn);
    } catch (const std::out_of_range &error) {
        std::string note = std::string(error.what()) + " passed at depth " + std::to_string(depth);
        sink = sink + static_cast<long>(note.size());
        throw;
    }
}

KEPT long nests(int depth, int turn) {
    try {
        return descend(depth - 1, turn);
    } catch (const std::out_of_range &) {
        try {
            throw std::runtime_error("within the handler of another, at " + std::to_string(depth));
        } catch (const std::runtime_error &inner) {
            sink = sink + static_cast<long>(std::string(inner.what()).size());
        }
        throw std::out_of_range("a new one in place of the old one, at " + std::to_string(depth));
    }
}

long descend(int depth, int turn) {
    if (depth == 0) {
        if (turn % 2)
            throw std::out_of_range("the bottom was reached in turn " + std::to_string(turn));
        return turn;
    }
    switch ((depth + turn) % 4) {
    case 0:
        return rethrows(depth, turn);
    case 1:
        return nests(depth, turn);
    case 2:
        return guarded(depth, [turn](int next) { return descend(next, turn); });
    default: {
        std::vector<std::string> words;
        std::function<long(int)> on = [turn, &words](int next) {
            words.push_back(std::string(30, 'w'));
            long below = descend(next, turn);
            words.push_back(std::string(50, 'v'));
            std::stable_sort(words.begin(), words.end());
            return below;
        };
        return guarded(depth, on);
    }
    }
}

} // namespace

int main(int count, char **arguments) {
    int turns = count == 2 ? std::stoi(arguments[1]) : 0;
    long caught = 0;
    for (int turn = 0; turn < turns; turn++) {
        try {
            sink = sink + descend(10 + turn % 4, turn);
        } catch (const std::out_of_range &error) {
            caught += std::string(error.what()).empty() ? 0 : 1;
        }
    }
    return turns > 0 && caught == turns / 2 ? 0 : 2;
}
