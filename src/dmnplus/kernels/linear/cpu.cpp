// y = x W' + b over rows, forward in vector registers or on the matrix unit, backward on the matrix unit alone.
//
// What a row gives does not depend on the rows beside it nor on the number of threads; the gradients of W and b are
// summed over lanes whose number depends on the shape alone.
//
// Symbols: d_ the gradient of; K depth, N columns of y.
#include "matrix_unit.hpp"
#include "parallel.hpp"
#include "products.hpp"

namespace dmnplus {
namespace {

// Rows that are multiplied together, and rows whose gradients are collected before they are multiplied into that of W.
constexpr int64_t TAKEN = 96, COLLECTED = 96;
// Partial gradients per group, of some hundred rows each.
constexpr int64_t LINEAR_LANES = 8;

// Filled by Python: every field has eight bytes; all is contiguous but x and grad_y, whose last axes are.
struct Linear {
  int64_t groups, rows, depth, width, threads;
  const float* x;
  int64_t x_group, x_row;
  // [G, N, K] and [G, N].
  const float *weight, *bias;
  float* y;
  const float* grad_y;
  int64_t grad_y_group, grad_y_row;
  float *grad_x, *grad_weight, *grad_bias;
};

int64_t useful_threads(const Linear& p, int products) {
  return threads_worth(p.threads, 2.0 * p.groups * p.rows * p.depth * p.width * products);
}

// Calls work(group, first row, number of rows) for all rows, TAKEN at a time.
template <class Work>
void for_rows(const Linear& p, int64_t threads, const Work& work) {
  const int64_t units = (p.rows + TAKEN - 1) / TAKEN;
  for_each(threads, p.groups * units, [&](int64_t item) {
    const int64_t first = item % units * TAKEN;
    work(item / units, first, std::min(TAKEN, p.rows - first));
  });
}

void forward_vector(const Linear& p) {
  const int64_t K = p.depth, N = p.width, packed_size = (N + W - 1) / W * W * K;
  static thread_local Scratch memory;
  float* packed = memory.floats(p.groups * packed_size);
  const int64_t threads = useful_threads(p, 1);
  for_each(threads, p.groups,
           [&](int64_t g) { pack_transposed(p.weight + g * N * K, N, K, 1.0f, packed + g * packed_size); });
  for_rows(p, threads, [&](int64_t g, int64_t first, int64_t count) {
    const float* x = p.x + g * p.x_group + first * p.x_row;
    float* y = p.y + (g * p.rows + first) * N;
    const float* bias = p.bias + g * N;
    const auto finish = [&](auto& product, int64_t row, int64_t start) DMNPLUS_INLINED {
      constexpr int ROWS = std::extent_v<std::remove_reference_t<decltype(product)>>;
      constexpr int VECTORS = std::extent_v<std::remove_reference_t<decltype(product)>, 1>;
      DMNPLUS_UNROLL
      for (int v = 0; v < VECTORS; v++) {
        const int64_t column = start + v * W;
        const int lanes = static_cast<int>(std::min<int64_t>(W, N - column));
        const V b = load_first(bias + column, lanes);
        DMNPLUS_UNROLL
        for (int m = 0; m < ROWS; m++) store_first(y + (row + m) * N + column, product[m][v] + b, lanes);
      }
    };
    multiply(count, x, p.x_row, packed + g * packed_size, K, N, finish);
  });
}

#if defined(DMNPLUS_MATRIX_UNIT)

// Sums [tile column][32][16] of up to 32 rows into rows of `width` numbers, with the bias added if there is one.
void write_rows(const float* sums, int64_t rows, int64_t width, const float* bias, float* to) {
  for (int64_t column = 0; column < width; column += W, sums += 2 * SIDE * W) {
    const int lanes = static_cast<int>(std::min<int64_t>(W, width - column));
    const V b = bias == nullptr ? zero() : load_first(bias + column, lanes);
    if (lanes == W) {
      for (int64_t m = 0; m < rows; m++) store(to + m * width + column, load(sums + m * W) + b);
    } else {
      for (int64_t m = 0; m < rows; m++) store_first(to + m * width + column, load(sums + m * W) + b, lanes);
    }
  }
}

void forward_matrix(const Linear& p) {
  const int64_t K = p.depth, N = p.width;
  const Panels panels(N, K);
  static thread_local Scratch packed_memory;
  float* packed = packed_memory.floats(p.groups * panels.floats());
  const int64_t threads = useful_threads(p, 1);
  for_each(threads, p.groups, [&](int64_t g) {
    pack_panels_transposed(p.weight + g * N * K, N, K, 1.0f, reinterpret_cast<char*>(packed + g * panels.floats()));
  });
  for_rows(p, threads, [&](int64_t g, int64_t first, int64_t count) {
    static thread_local Scratch memory;
    float* scratch = memory.floats(Split::floats(2 * SIDE, K) + panels.tiles * 2 * SIDE * W);
    const Split x(scratch, 2 * SIDE, K);
    float* sums = scratch + Split::floats(2 * SIDE, K);
    const Tiles tiles(SIDE);
    for (int64_t start = first; start < first + count; start += 2 * SIDE) {
      const int64_t rows = std::min(2 * SIDE, first + count - start);
      for (int64_t m = 0; m < rows; m++) store_row(x, m, p.x + g * p.x_group + (start + m) * p.x_row, K);
      multiply_panels(tiles_of(rows), x, reinterpret_cast<const char*>(packed + g * panels.floats()), panels, sums);
      write_rows(sums, rows, N, p.bias + g * N, p.y + (g * p.rows + start) * N);
    }
  });
}

void backward_matrix(const Linear& p) {
  const int64_t K = p.depth, N = p.width;
  const Panels panels(K, N);
  // Of x' grad_y, the transposed gradient of W: x has fewer columns, and those are the ones that cost.
  const Outer outer(K, N);
  const int64_t lanes = std::min(LINEAR_LANES, (p.rows + 4 * COLLECTED - 1) / (4 * COLLECTED));
  const int64_t P = tiles_of(N) * SIDE, partial_size = P + outer.floats();
  static thread_local Scratch packed_memory, partial_memory;
  float* packed = packed_memory.floats(p.groups * panels.floats());
  float* partials = partial_memory.floats(p.groups * lanes * partial_size);
  const int64_t threads = useful_threads(p, 2);
  for_each(threads, p.groups, [&](int64_t g) {
    pack_panels_straight(p.weight + g * N * K, K, N, reinterpret_cast<char*>(packed + g * panels.floats()));
  });
  for_each(threads, p.groups * lanes, [&](int64_t item) {
    const int64_t g = item / lanes, lane = item % lanes;
    static thread_local Scratch memory;
    float* scratch = memory.floats(Split::floats(COLLECTED, K) + Split::floats(COLLECTED, N) +
                                   panels.tiles * 2 * SIDE * W + outer.scratch_floats(COLLECTED));
    const Split x(scratch, COLLECTED, K);
    const Split d_y(scratch + Split::floats(COLLECTED, K), COLLECTED, N);
    float* sums = scratch + Split::floats(COLLECTED, K) + Split::floats(COLLECTED, N);
    float* outer_scratch = sums + panels.tiles * 2 * SIDE * W;
    float* partial = partials + item * partial_size;
    std::memset(partial, 0, partial_size * sizeof(float));
    const auto* weights = reinterpret_cast<const char*>(packed + g * panels.floats());
    const Tiles tiles(SIDE);
    const int64_t low = lane * p.rows / lanes, high = (lane + 1) * p.rows / lanes;
    for (int64_t first = low; first < high; first += COLLECTED) {
      const int64_t count = std::min(COLLECTED, high - first);
      for (int64_t start = 0; start < count; start += 2 * SIDE) {
        const int64_t rows = std::min(2 * SIDE, count - start);
        for (int64_t m = start; m < start + rows; m++) {
          const float* grad = p.grad_y + g * p.grad_y_group + (first + m) * p.grad_y_row;
          store_row(x, m, p.x + g * p.x_group + (first + m) * p.x_row, K);
          store_row(d_y, m, grad, N);
          columns(N, [&](auto tail, int64_t column, int count) DMNPLUS_INLINED {
            store(partial + column, load(partial + column) + load_columns(tail, grad + column, count));
          });
        }
        multiply_panels(tiles_of(rows), d_y.from(start), weights, panels, sums);
        write_rows(sums, rows, K, nullptr, p.grad_x + (g * p.rows + first + start) * K);
      }
      outer.add(x, d_y, count, outer_scratch, partial + P);
    }
  });
  add_lanes(threads, p.groups, lanes, partial_size, partials);
  for_each(threads, p.groups * PIECES, [&](int64_t item) {
    const int64_t g = item / PIECES, piece = item % PIECES;
    const float* sum = partials + g * lanes * partial_size;
    for (int64_t n = piece * N / PIECES; n < (piece + 1) * N / PIECES; n++) {
      p.grad_bias[g * N + n] = lanes > 0 ? sum[n] : 0.0f;
      for (int64_t k = 0; k < K; k++) p.grad_weight[(g * N + n) * K + k] = lanes > 0 ? outer.at(sum + P, k, n) : 0.0f;
    }
  });
}

#endif

}  // namespace
}  // namespace dmnplus

// The second argument is there because all functions of the library have it.
extern "C" int dmnplus_linear_forward(const void* fields, const uint8_t*) {
  return dmnplus::guarded<dmnplus::Linear>(fields, sizeof(dmnplus::Linear), [](const dmnplus::Linear& p) {
#if defined(DMNPLUS_MATRIX_UNIT)
    if (dmnplus::matrix_unit()) return dmnplus::forward_matrix(p);
#endif
    dmnplus::forward_vector(p);
  });
}

// Without a matrix unit it does nothing, and Python does not call it.
extern "C" int dmnplus_linear_backward(const void* fields, const uint8_t*) {
  return dmnplus::guarded<dmnplus::Linear>(fields, sizeof(dmnplus::Linear), [](const dmnplus::Linear& p) {
#if defined(DMNPLUS_MATRIX_UNIT)
    dmnplus::backward_matrix(p);
#else
    (void)p;
#endif
  });
}
