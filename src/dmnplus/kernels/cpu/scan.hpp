// The two recurrences, forward and backward, over rows of different length.
//
// GRU:            u = sigmoid(x_u + U_u h), r = sigmoid(x_r + U_r h), c = tanh(x_c + r * (U_c h)), h' = h + u * (c - h)
// attention GRU:  the same with the scalar gate g of the fact in the place of u.
//
// Rows (one per group and batch element) never meet, so that a unit of up to UNIT_ROWS rows runs the whole scan on one
// thread, its state and one panel of weights in the first-level cache, with nothing to wait for between steps.
// What a row gives does not depend on the rows beside it nor on the number of threads: every tile height multiplies
// in the same order, and the weight gradient is summed over lanes whose number depends on the shape alone.
//
// Symbols: n = U_c h, scaled by TANH as it is kept; d_ the gradient of; W lanes of a vector, H hidden, P hidden padded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <numeric>
#include <vector>

#include "parallel.hpp"
#include "vector.hpp"

namespace dmnplus {

constexpr int64_t UNIT_ROWS = 48;
// Steps times rows whose gate gradients are collected before they are multiplied into the weight gradient.
constexpr int64_t HISTORY = 96;
// Partial weight gradients per group.
constexpr int64_t LANES = 16;
// Kept per step and row for the backward pass: GRU u, r, c, n; attention GRU h, r, c, n.
constexpr int64_t SLOTS = 4;
// The padding of the hidden size, the same on every machine since the kept tensor has it in its shape.
constexpr int64_t PADDING = 16;

struct Strides {
  int64_t group, row, step;
  int64_t at(int64_t g, int64_t b, int64_t i) const { return g * group + b * row + i * step; }
};

// Filled by Python: every field has eight bytes. Strides count elements; the last axis is contiguous everywhere.
struct Problem {
  int64_t groups, batch, steps, hidden, threads;
  const float* x;
  Strides x_strides;
  const float* weight;
  const uint8_t* mask;
  Strides mask_strides;
  const float* gate;
  Strides gate_strides;
  // GRU: all states [G, B, F, H]; attention GRU: the last state [G, B, H].
  float* output;
  // As much as [G, B, F, SLOTS, P], laid out as `Kept` says; null without a backward pass.
  float* kept;
  const float* grad_output;
  Strides grad_output_strides;
  float* grad_x;
  Strides grad_x_strides;
  float* grad_weight;
  // [G, B, F], contiguous.
  float* grad_gate;
  // Not from Python's block but an argument of its own, since its memory is a bytes object's; null runs all forward.
  const uint8_t* reverse;
};

struct Row {
  int64_t b;
  // Steps outside [low, high) are all masked.
  int64_t low, high;
};

inline int64_t padded(int64_t hidden) { return (hidden + PADDING - 1) / PADDING * PADDING; }

// Where a unit keeps what its backward pass needs: [step][panel of W columns][row][slot][W], the order in which the
// forward pass makes it, so that both passes go through memory in one line.
struct Kept {
  float* start;
  int64_t rows, P;

  Kept(const Problem& p, int64_t g, int64_t first, int64_t count)
      : start(p.kept + (g * p.batch + first) * p.steps * SLOTS * padded(p.hidden)), rows(count), P(padded(p.hidden)) {}
  float* at(int64_t step, int64_t panel, int64_t row) const {
    return start + step * rows * SLOTS * P + (panel * rows + row) * SLOTS * W;
  }
};

// How the rows of one group are cut into units; a function of the shape alone.
struct Plan {
  int64_t unit_rows, units, lanes;

  explicit Plan(const Problem& p) {
    // Four units at least, for small batches too, else some threads have nothing to do.
    const int64_t wanted = (p.batch + 3) / 4;
    unit_rows = std::min<int64_t>(16, std::max<int64_t>(4, (wanted + 3) / 4 * 4));
    units = (p.batch + unit_rows - 1) / unit_rows;
    lanes = std::min(units, LANES);
  }
};

// Rows of a group, the longest first, so that rows of one unit have about the same length.
inline std::vector<Row> sorted_rows(const Problem& p, int64_t g) {
  std::vector<Row> rows(p.batch);
  for (int64_t b = 0; b < p.batch; b++) {
    const uint8_t* mask = p.mask + p.mask_strides.at(g, b, 0);
    const int64_t s = p.mask_strides.step;
    int64_t low = 0, high = p.steps;
    while (high > 0 && !mask[(high - 1) * s]) high--;
    while (low < high && !mask[low * s]) low++;
    rows[b] = {b, low, high};
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.high - a.low > b.high - b.low; });
  return rows;
}

// Threads worth waking: each should have some 30 microseconds of work.
inline int64_t useful_threads(const Problem& p, int gates, int products) {
  const double flops = 2.0 * p.groups * p.batch * p.steps * gates * p.hidden * p.hidden * products;
  return std::max<int64_t>(1, std::min<int64_t>(p.threads, static_cast<int64_t>(flops / 1e6)));
}

// ---- forward

// Panels [P/W][H][GATES][W] of the transposed weights, scaled for exp2.
template <int GATES>
void pack_forward(const float* weight, int64_t H, float* packed) {
  const int64_t panels = (H + W - 1) / W;
  for (int64_t j = 0; j < panels; j++) {
    for (int gate = 0; gate < GATES; gate++) {
      const float scale = gate == GATES - 1 ? TANH : SIGMOID;
      const int64_t lanes = std::min<int64_t>(W, H - j * W);
      const float* from = weight + (gate * H + j * W) * H;
      float* to = packed + (j * H * GATES + gate) * W;
      int64_t k = 0;
      if (lanes == W) {
        for (; k + BLOCK <= H; k += BLOCK)
          for (int l = 0; l < W; l += BLOCK) transpose(from + l * H + k, H, scale, to + k * GATES * W + l, GATES * W);
      }
      for (; k < H; k++)
        for (int64_t l = 0; l < W; l++) to[k * GATES * W + l] = l < lanes ? from[l * H + k] * scale : 0.0f;
    }
  }
}

// What one step of one tile of rows needs; the pointers stand at the row and the step.
struct Cell {
  const float* x;
  float* state;
  float gate;
  bool on;
};

// What all tiles of a step share.
struct Step {
  const float* packed;
  int64_t H, P;
  // From this step's input to that of the next one.
  int64_t x_ahead;
};

// One panel of W columns for ROWS rows: the product with the weights, the gates and the new state.
template <bool ATTENTION, bool KEEP, bool TAIL, int ROWS>
DMNPLUS_INLINE void forward_tile(const Step& step, const float* h, float* h_new, const Cell* cells, int64_t j,
                                 float* kept) {
  const int64_t H = step.H, P = step.P;
  constexpr int GATES = ATTENTION ? 2 : 3;
  constexpr int R = GATES - 2, C = GATES - 1;
  V product[ROWS][GATES];
  DMNPLUS_UNROLL
  for (int m = 0; m < ROWS; m++) {
    DMNPLUS_UNROLL
    for (int gate = 0; gate < GATES; gate++) product[m][gate] = zero();
  }
  const float* panel = step.packed + j * H * GATES * W;
  for (int64_t k = 0; k < H; k++, panel += GATES * W) {
    V b[GATES];
    DMNPLUS_UNROLL
    for (int gate = 0; gate < GATES; gate++) hold(b[gate] = load(panel + gate * W));
    DMNPLUS_UNROLL
    for (int m = 0; m < ROWS; m++) {
      const V a = set1(h[m * P + k]);
      DMNPLUS_UNROLL
      for (int gate = 0; gate < GATES; gate++) product[m][gate] = fma(a, b[gate], product[m][gate]);
    }
  }
  // A masked row is computed too, from whatever its input holds, and then keeps its state.
  constexpr int N = ROWS;
  const int64_t column = j * W;
  const int lanes = static_cast<int>(std::min<int64_t>(W, H - column));
  const auto input = [&](int m, int gate) { return load_part<TAIL>(cells[m].x + gate * H + column, lanes); };
  V before[N], r[N], u[N], c[N], t[N], numerator[N], denominator[N];
  DMNPLUS_EACH {
    for (int gate = 0; gate < GATES; gate++) __builtin_prefetch(cells[i].x + gate * H + column + step.x_ahead);
  }
  DMNPLUS_EACH t[i] = fma(input(i, R), set1(SIGMOID), product[i][R]);
  sigmoid_denominator(t, r);
  DMNPLUS_EACH r[i] = set1(1.0f) / r[i];
  DMNPLUS_EACH t[i] = fma(r[i], product[i][C], input(i, C) * set1(TANH));
  tanh_ratio(t, numerator, denominator);
  DMNPLUS_EACH before[i] = load(h + i * P + column);
  if constexpr (ATTENTION) {
    DMNPLUS_EACH c[i] = numerator[i] / denominator[i];
    DMNPLUS_EACH u[i] = set1(cells[i].gate);
  } else {
    V inverse[N], D[N];
    DMNPLUS_EACH t[i] = fma(input(i, 0), set1(SIGMOID), product[i][0]);
    sigmoid_denominator(t, D);
    // u = 1 / D and c = numerator / denominator by one division.
    DMNPLUS_EACH inverse[i] = set1(1.0f) / (D[i] * denominator[i]);
    DMNPLUS_EACH u[i] = inverse[i] * denominator[i];
    DMNPLUS_EACH c[i] = numerator[i] * (inverse[i] * D[i]);
  }
  V next[N];
  DMNPLUS_EACH next[i] = fma(u[i], c[i] - before[i], before[i]);
  // Else GCC moves all of the above into the branch below, row by row.
  DMNPLUS_EACH pin(next[i]);
  DMNPLUS_EACH {
    const V after = cells[i].on ? next[i] : before[i];
    store(h_new + i * P + column, after);
    if constexpr (!ATTENTION) store_part<TAIL>(cells[i].state + column, after, lanes);
    if constexpr (KEEP) {
      float* to = kept + i * SLOTS * W;
      store(to, ATTENTION ? before[i] : u[i]);
      store(to + W, r[i]);
      store(to + 2 * W, c[i]);
      store(to + 3 * W, product[i][C]);
    }
  }
}

template <bool ATTENTION, bool KEEP, int ROWS>
struct ForwardTiles {
  static void run(int rows, bool tail, const Step& step, const float* h, float* h_new, const Cell* cells, int64_t j,
                  float* kept) {
    if (rows < ROWS) {
      if constexpr (ROWS > 1) ForwardTiles<ATTENTION, KEEP, ROWS - 1>::run(rows, tail, step, h, h_new, cells, j, kept);
    } else if (tail) {
      forward_tile<ATTENTION, KEEP, true, ROWS>(step, h, h_new, cells, j, kept);
    } else {
      forward_tile<ATTENTION, KEEP, false, ROWS>(step, h, h_new, cells, j, kept);
    }
  }
};

template <bool ATTENTION, bool KEEP>
void forward_unit(const Problem& p, int64_t g, const Row* rows, int64_t count, const float* packed, float* scratch,
                  const Kept& kept) {
  constexpr int64_t TILE = ATTENTION ? ROWS_SCAN : ROWS_3;
  const int64_t H = p.hidden, P = padded(H), F = p.steps;
  const bool backwards = p.reverse != nullptr && p.reverse[g];
  const int64_t panels = (H + W - 1) / W, tiles = (count + TILE - 1) / TILE;
  // Two states per tile: the panels of a step all read the old one.
  float* states[2] = {scratch, scratch + UNIT_ROWS * P};
  std::memset(scratch, 0, 2 * UNIT_ROWS * P * sizeof(float));
  int current[UNIT_ROWS] = {};
  int64_t low[UNIT_ROWS], high[UNIT_ROWS], unit_low = F, unit_high = 0;
  for (int64_t t = 0; t < tiles; t++) {
    low[t] = F, high[t] = 0;
    for (int64_t m = t * TILE; m < std::min(count, (t + 1) * TILE); m++) {
      if (rows[m].low == rows[m].high) continue;
      low[t] = std::min(low[t], rows[m].low);
      high[t] = std::max(high[t], rows[m].high);
    }
    unit_low = std::min(unit_low, low[t]);
    unit_high = std::max(unit_high, high[t]);
  }
  Cell cells[UNIT_ROWS];
  for (int64_t s = unit_low; s < unit_high; s++) {
    const int64_t i = backwards ? unit_low + unit_high - 1 - s : s;
    // The next step's memory is asked for early; the last step asks for its own.
    const int64_t ahead = s + 1 < unit_high ? (backwards ? -1 : 1) : 0;
    const Step step = {packed, H, P, ahead * p.x_strides.step};
    for (int64_t m = 0; m < count; m++) {
      const int64_t b = rows[m].b;
      Cell& cell = cells[m];
      cell.x = p.x + p.x_strides.at(g, b, i);
      cell.on = p.mask[p.mask_strides.at(g, b, i)];
      if constexpr (ATTENTION) {
        cell.gate = p.gate[p.gate_strides.at(g, b, i)];
      } else {
        cell.state = p.output + ((g * p.batch + b) * F + i) * H;
      }
    }
    for (int64_t j = 0; j < panels; j++) {
      for (int64_t t = 0; t < tiles; t++) {
        if (i < low[t] || i >= high[t]) continue;
        const int64_t m = t * TILE;
        const float* h = states[current[t]] + m * P;
        float* h_new = states[1 - current[t]] + m * P;
        const int height = static_cast<int>(std::min(TILE, count - m));
        ForwardTiles<ATTENTION, KEEP, TILE>::run(height, (j + 1) * W > H, step, h, h_new, cells + m, j,
                                                 KEEP ? kept.at(i, j, m) : nullptr);
      }
    }
    for (int64_t t = 0; t < tiles; t++)
      if (i >= low[t] && i < high[t]) current[t] = 1 - current[t];
  }
  for (int64_t m = 0; m < count; m++) {
    const int64_t t = m / TILE, b = rows[m].b;
    const float* last = states[current[t]] + m * P;
    if constexpr (ATTENTION) {
      std::memcpy(p.output + (g * p.batch + b) * H, last, H * sizeof(float));
    } else {
      // Steps that no row of the tile has: zero before the first in the order of the scan, the last state after it.
      float* state = p.output + (g * p.batch + b) * F * H;
      const bool none = low[t] >= high[t];
      for (int64_t i = 0; i < F; i++) {
        if (!none && i >= low[t] && i < high[t]) continue;
        const bool after = !none && (backwards ? i < low[t] : i >= high[t]);
        if (after) {
          std::memcpy(state + i * H, last, H * sizeof(float));
        } else {
          std::memset(state + i * H, 0, H * sizeof(float));
        }
      }
    }
  }
}

template <bool ATTENTION>
void forward(const Problem& p) {
  constexpr int GATES = ATTENTION ? 2 : 3;
  const int64_t H = p.hidden, P = padded(H);
  const Plan plan(p);
  const int64_t packed_size = P * H * GATES;
  static thread_local Scratch packed_memory;
  float* packed = packed_memory.floats(p.groups * packed_size);
  std::vector<std::vector<Row>> rows(p.groups);
  const int64_t threads = useful_threads(p, GATES, 1);
  for_each(threads, p.groups, [&](int64_t g) {
    rows[g] = sorted_rows(p, g);
    pack_forward<GATES>(p.weight + g * GATES * H * H, H, packed + g * packed_size);
  });
  for_each(threads, p.groups * plan.units, [&](int64_t item) {
    // The longest units of all groups first.
    const int64_t g = item % p.groups, start = item / p.groups * plan.unit_rows;
    const int64_t count = std::min(plan.unit_rows, p.batch - start);
    static thread_local Scratch memory;
    float* scratch = memory.floats(2 * UNIT_ROWS * P);
    const auto run = p.kept != nullptr ? forward_unit<ATTENTION, true> : forward_unit<ATTENTION, false>;
    run(p, g, rows[g].data() + start, count, packed + g * packed_size, scratch, Kept(p, g, start, count));
  });
}

// ---- backward

// Panels [P/(2W)][GATES * H][2W] of the weights as they are: row k holds the weights of gate row k. The last panel is
// W wide where H takes an odd number of vectors.
template <int GATES>
void pack_backward(const float* weight, int64_t H, float* packed) {
  for (int64_t column = 0; column < H; column += 2 * W) {
    const int64_t width = column + W < H ? 2 * W : W, lanes = std::min(width, H - column);
    float* to = packed + column * GATES * H;
    for (int64_t k = 0; k < GATES * H; k++, to += width) {
      std::memcpy(to, weight + k * H + column, lanes * sizeof(float));
      for (int64_t l = lanes; l < width; l++) to[l] = 0.0f;
    }
  }
}

// d_h[row] += d_gates U for ROWS rows and VECTORS vectors of columns; the rows of d_h are given one by one.
template <int GATES, int ROWS, int VECTORS>
struct BackwardTiles {
  static void run(int rows, const float* panel, const float* d_gates, float* const* d_h, int64_t H, int64_t P,
                  int64_t column) {
    if (rows < ROWS) {
      if constexpr (ROWS > 1) BackwardTiles<GATES, ROWS - 1, VECTORS>::run(rows, panel, d_gates, d_h, H, P, column);
      return;
    }
    V product[ROWS][VECTORS];
    DMNPLUS_UNROLL
    for (int m = 0; m < ROWS; m++) {
      DMNPLUS_UNROLL
      for (int v = 0; v < VECTORS; v++) product[m][v] = zero();
    }
    for (int gate = 0; gate < GATES; gate++) {
      const float* a = d_gates + gate * P;
      for (int64_t k = 0; k < H; k++, panel += VECTORS * W) {
        V b[VECTORS];
        DMNPLUS_UNROLL
        for (int v = 0; v < VECTORS; v++) hold(b[v] = load(panel + v * W));
        DMNPLUS_UNROLL
        for (int m = 0; m < ROWS; m++) {
          const V d = set1(a[m * GATES * P + k]);
          DMNPLUS_UNROLL
          for (int v = 0; v < VECTORS; v++) product[m][v] = fma(d, b[v], product[m][v]);
        }
      }
    }
    DMNPLUS_UNROLL
    for (int m = 0; m < ROWS; m++) {
      float* d = d_h[m] + column;
      DMNPLUS_UNROLL
      for (int v = 0; v < VECTORS; v++) store(d + v * W, load(d + v * W) + product[m][v]);
    }
  }
};

// grad[m][n] += sum over k of d_gates[k][m] h[k][n] for ROWS rows m and VECTORS vectors of columns n.
template <int ROWS, int VECTORS>
struct WeightTiles {
  static void run(int rows, const float* d_gates, int64_t d_stride, const float* h, int64_t P, int64_t depth,
                  float* grad) {
    if (rows < ROWS) {
      if constexpr (ROWS > 1) WeightTiles<ROWS - 1, VECTORS>::run(rows, d_gates, d_stride, h, P, depth, grad);
      return;
    }
    V product[ROWS][VECTORS];
    DMNPLUS_UNROLL
    for (int m = 0; m < ROWS; m++) {
      DMNPLUS_UNROLL
      for (int v = 0; v < VECTORS; v++) product[m][v] = zero();
    }
    for (int64_t k = 0; k < depth; k++, d_gates += d_stride, h += P) {
      V b[VECTORS];
      DMNPLUS_UNROLL
      for (int v = 0; v < VECTORS; v++) hold(b[v] = load(h + v * W));
      DMNPLUS_UNROLL
      for (int m = 0; m < ROWS; m++) {
        const V d = set1(d_gates[m]);
        DMNPLUS_UNROLL
        for (int v = 0; v < VECTORS; v++) product[m][v] = fma(d, b[v], product[m][v]);
      }
    }
    DMNPLUS_UNROLL
    for (int m = 0; m < ROWS; m++) {
      DMNPLUS_UNROLL
      for (int v = 0; v < VECTORS; v++) {
        float* to = grad + m * P + v * W;
        store(to, load(to) + product[m][v]);
      }
    }
  }
};

// The weight gradient [GATES * H, P] of one lane, to which `depth` steps are added.
template <int GATES>
void add_weight_gradient(const float* d_gates, const float* h, int64_t depth, int64_t H, int64_t P, float* grad) {
  if (depth == 0) return;
  const int64_t vectors = (H + W - 1) / W;
  for (int64_t v = 0; v < vectors; v += 2) {
    for (int gate = 0; gate < GATES; gate++) {
      for (int64_t m = 0; m < H; m += ROWS_2) {
        const int rows = static_cast<int>(std::min<int64_t>(ROWS_2, H - m));
        const float* d = d_gates + gate * P + m;
        float* to = grad + (gate * H + m) * P + v * W;
        if (v + 1 < vectors) {
          WeightTiles<ROWS_2, 2>::run(rows, d, GATES * P, h + v * W, P, depth, to);
        } else {
          WeightTiles<ROWS_2, 1>::run(rows, d, GATES * P, h + v * W, P, depth, to);
        }
      }
    }
  }
}

// From one step's memory to that of the next one.
struct Ahead {
  int64_t x, state;
};

// One row and step: the gradients of the gates into d_gates [GATES, P], of the input, and the direct part of d_h.
template <bool ATTENTION>
DMNPLUS_INLINE void backward_cell(const Kept& all, int64_t step, int64_t row, const float* h_before, const float* grad_state, float gate,
                                  float* d_h, float* d_gates, float* h_copy, float* grad_x, float* grad_gate,
                                  const Ahead& ahead, int64_t H, int64_t P) {
  const V one = set1(1.0f);
  V d_gate = zero();
  const auto part = [&](auto tail, int64_t column, int lanes) {
    constexpr bool TAIL = decltype(tail)::value;
    for (int part = 0; part < (ATTENTION ? 2 : 3); part++) __builtin_prefetch(grad_x + ahead.x + part * H + column, 1);
    if constexpr (!ATTENTION) __builtin_prefetch(grad_state + ahead.state + column);
    V d = load(d_h + column);
    const float* kept = all.at(step, column / W, row);
    const V r = load(kept + W), c = load(kept + 2 * W), n = load(kept + 3 * W);
    V h, u;
    if constexpr (ATTENTION) {
      h = load(kept);
      u = set1(gate);
    } else {
      d = d + load_part<TAIL>(grad_state + column, lanes);
      h = h_before != nullptr ? load_part<TAIL>(h_before + column, lanes) : zero();
      u = load(kept);
    }
    store(h_copy + column, h);
    const V d_c = d * u * fnma(c, c, one);
    // n is kept scaled by TANH.
    const V d_r = d_c * n * set1(1.0f / TANH) * r * (one - r);
    const V d_n = d_c * r;
    if constexpr (ATTENTION) {
      d_gate = fma(d, c - h, d_gate);
      store(d_gates + column, d_r);
      store(d_gates + P + column, d_n);
      store_part<TAIL>(grad_x + column, d_r, lanes);
      store_part<TAIL>(grad_x + H + column, d_c, lanes);
    } else {
      const V d_u = d * (c - h) * u * (one - u);
      store(d_gates + column, d_u);
      store(d_gates + P + column, d_r);
      store(d_gates + 2 * P + column, d_n);
      store_part<TAIL>(grad_x + column, d_u, lanes);
      store_part<TAIL>(grad_x + H + column, d_r, lanes);
      store_part<TAIL>(grad_x + 2 * H + column, d_c, lanes);
    }
    store(d_h + column, fnma(d, u, d));
  };
  int64_t column = 0;
  for (; column + W <= H; column += W) part(std::false_type{}, column, W);
  if (column < H) part(std::true_type{}, column, static_cast<int>(H - column));
  if constexpr (ATTENTION) *grad_gate = sum(d_gate);
}

// What a thread needs for one unit.
template <int GATES>
struct BackwardScratch {
  float *d_h, *d_gates, *h;

  static size_t size(int64_t P) { return (UNIT_ROWS + (HISTORY + UNIT_ROWS) * (GATES + 1)) * P; }
  BackwardScratch(float* memory, int64_t P)
      : d_h(memory), d_gates(memory + UNIT_ROWS * P), h(d_gates + (HISTORY + UNIT_ROWS) * GATES * P) {}
};

template <bool ATTENTION>
void backward_unit(const Problem& p, int64_t g, const Row* rows, int64_t count, const float* packed, float* grad_weight,
                   const BackwardScratch<ATTENTION ? 2 : 3>& scratch, const Kept& kept) {
  constexpr int GATES = ATTENTION ? 2 : 3;
  const int64_t H = p.hidden, P = padded(H), F = p.steps;
  const bool backwards = p.reverse != nullptr && p.reverse[g];
  int64_t low = F, high = 0;
  for (int64_t m = 0; m < count; m++) {
    if (rows[m].low == rows[m].high) continue;
    low = std::min(low, rows[m].low);
    high = std::max(high, rows[m].high);
  }
  const auto clear = [&](int64_t b, int64_t i) {
    std::memset(p.grad_x + p.grad_x_strides.at(g, b, i), 0, GATES * H * sizeof(float));
    if constexpr (ATTENTION) p.grad_gate[(g * p.batch + b) * F + i] = 0.0f;
  };
  const auto add_gradient = [&](float* d_h, int64_t b, int64_t i) {
    const float* grad = p.grad_output + p.grad_output_strides.at(g, b, i);
    for (int64_t l = 0; l < H; l++) d_h[l] += grad[l];
  };
  std::memset(scratch.d_h, 0, count * P * sizeof(float));
  for (int64_t m = 0; m < count; m++) {
    const int64_t b = rows[m].b;
    for (int64_t i = 0; i < F; i++) {
      if (i >= low && i < high) continue;
      clear(b, i);
      // The states after the last step are that step's.
      if (!ATTENTION && (backwards ? i < low : i >= high)) add_gradient(scratch.d_h + m * P, b, i);
    }
    if (ATTENTION) add_gradient(scratch.d_h + m * P, b, 0);
  }
  int64_t depth = 0;
  for (int64_t s = low; s < high; s++) {
    const int64_t i = backwards ? s : low + high - 1 - s;
    const int64_t before = backwards ? i + 1 : i - 1;
    const int64_t next = s + 1 < high ? before - i : 0;
    const Ahead ahead = {next * p.grad_x_strides.step, next * p.grad_output_strides.step};
    float* active[UNIT_ROWS];
    int64_t n = 0;
    float* d_gates = scratch.d_gates + depth * GATES * P;
    float* h = scratch.h + depth * P;
    for (int64_t m = 0; m < count; m++) {
      const int64_t b = rows[m].b;
      float* d_h = scratch.d_h + m * P;
      if (!p.mask[p.mask_strides.at(g, b, i)]) {
        clear(b, i);
        if constexpr (!ATTENTION) add_gradient(d_h, b, i);
        continue;
      }
      const int64_t row = (g * p.batch + b) * F;
      const float* h_before = nullptr;
      const float* grad_state = nullptr;
      float gate = 0.0f;
      float* grad_gate = nullptr;
      if constexpr (ATTENTION) {
        gate = p.gate[p.gate_strides.at(g, b, i)];
        grad_gate = p.grad_gate + row + i;
      } else {
        if (before >= 0 && before < F) h_before = p.output + (row + before) * H;
        grad_state = p.grad_output + p.grad_output_strides.at(g, b, i);
      }
      backward_cell<ATTENTION>(kept, i, m, h_before, grad_state, gate, d_h, d_gates + n * GATES * P, h + n * P,
                               p.grad_x + p.grad_x_strides.at(g, b, i), grad_gate, ahead, H, P);
      active[n++] = d_h;
    }
    for (int64_t column = 0; column < H; column += 2 * W) {
      const float* panel = packed + column * GATES * H;
      if (column + W < H) {
        for (int64_t m = 0; m < n; m += ROWS_SCAN) {
          const int height = static_cast<int>(std::min<int64_t>(ROWS_SCAN, n - m));
          BackwardTiles<GATES, ROWS_SCAN, 2>::run(height, panel, d_gates + m * GATES * P, active + m, H, P, column);
        }
      } else {
        for (int64_t m = 0; m < n; m += 2 * ROWS_SCAN) {
          const int height = static_cast<int>(std::min<int64_t>(2 * ROWS_SCAN, n - m));
          BackwardTiles<GATES, 2 * ROWS_SCAN, 1>::run(height, panel, d_gates + m * GATES * P, active + m, H, P, column);
        }
      }
    }
    depth += n;
    if (depth >= HISTORY) {
      add_weight_gradient<GATES>(scratch.d_gates, scratch.h, depth, H, P, grad_weight);
      depth = 0;
    }
  }
  add_weight_gradient<GATES>(scratch.d_gates, scratch.h, depth, H, P, grad_weight);
}

template <bool ATTENTION>
void backward(const Problem& p) {
  constexpr int GATES = ATTENTION ? 2 : 3;
  const int64_t H = p.hidden, P = padded(H);
  if (p.batch == 0 || p.steps == 0) {
    // No row and so no lane to sum over.
    std::memset(p.grad_weight, 0, p.groups * GATES * H * H * sizeof(float));
    return;
  }
  const Plan plan(p);
  const int64_t packed_size = (P + W) * H * GATES, partial_size = GATES * H * P;
  static thread_local Scratch packed_memory, partial_memory;
  float* packed = packed_memory.floats(p.groups * packed_size);
  float* partial = partial_memory.floats(p.groups * plan.lanes * partial_size);
  std::vector<std::vector<Row>> rows(p.groups);
  const int64_t threads = useful_threads(p, GATES, 2);
  for_each(threads, p.groups, [&](int64_t g) {
    rows[g] = sorted_rows(p, g);
    pack_backward<GATES>(p.weight + g * GATES * H * H, H, packed + g * packed_size);
  });
  for_each(threads, p.groups * plan.lanes, [&](int64_t item) {
    const int64_t g = item % p.groups, lane = item / p.groups;
    static thread_local Scratch memory;
    const BackwardScratch<GATES> scratch(memory.floats(BackwardScratch<GATES>::size(P)), P);
    float* grad_weight = partial + (g * plan.lanes + lane) * partial_size;
    std::memset(grad_weight, 0, partial_size * sizeof(float));
    for (int64_t unit = lane; unit < plan.units; unit += plan.lanes) {
      const int64_t start = unit * plan.unit_rows, count = std::min(plan.unit_rows, p.batch - start);
      backward_unit<ATTENTION>(p, g, rows[g].data() + start, count, packed + g * packed_size, grad_weight, scratch,
                               Kept(p, g, start, count));
    }
  });
  for_each(threads, p.groups * GATES, [&](int64_t item) {
    const int64_t g = item / GATES, gate = item % GATES;
    for (int64_t k = gate * H; k < (gate + 1) * H; k++) {
      float* to = p.grad_weight + (g * GATES * H + k) * H;
      for (int64_t lane = 0; lane < plan.lanes; lane++) {
        const float* from = partial + (g * plan.lanes + lane) * partial_size + k * P;
        for (int64_t l = 0; l < H; l++) to[l] = lane == 0 ? from[l] : to[l] + from[l];
      }
    }
  });
}

// Nothing may be thrown through the C interface. Returns 0, or 1 where memory ran out.
template <class Run>
int guarded(const void* fields, const uint8_t* reverse, const Run& run) {
  try {
    Problem problem;
    std::memcpy(&problem, fields, offsetof(Problem, reverse));
    problem.reverse = reverse;
    run(problem);
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

}  // namespace dmnplus
