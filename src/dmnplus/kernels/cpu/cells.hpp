// What the scans of both recurrences are made of, whoever multiplies: the problem, its rows, and one step of a row.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "parallel.hpp"
#include "vector.hpp"

namespace dmnplus {

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

// How the rows of one group are cut into units of at most `most`; a function of the shape alone.
struct Plan {
  int64_t unit_rows, units, lanes;

  Plan(const Problem& p, int64_t most) {
    // Four units at least, for small batches too, else some threads have nothing to do.
    const int64_t wanted = (p.batch + 3) / 4;
    unit_rows = std::min<int64_t>(most, std::max<int64_t>(4, (wanted + 3) / 4 * 4));
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
  const auto longer = [](const Row& a, const Row& b) { return a.high - a.low > b.high - b.low; };
  std::stable_sort(rows.begin(), rows.end(), longer);
  return rows;
}

inline int64_t useful_threads(const Problem& p, int gates, int products) {
  return threads_worth(p.threads, 2.0 * p.groups * p.batch * p.steps * gates * p.hidden * p.hidden * products);
}

struct Steps {
  int64_t low, high;
  bool has(int64_t i) const { return i >= low && i < high; }
};

// The steps that any row of a unit has.
inline Steps steps_of_unit(const Problem& p, const Row* rows, int64_t count) {
  Steps steps = {p.steps, 0};
  for (int64_t m = 0; m < count; m++) {
    if (rows[m].low == rows[m].high) continue;
    steps.low = std::min(steps.low, rows[m].low);
    steps.high = std::max(steps.high, rows[m].high);
  }
  return steps;
}

// Where step s of a scan stands in the story.
inline int64_t place(const Steps& steps, int64_t s, bool backwards) {
  return backwards ? steps.low + steps.high - 1 - s : s;
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
  int64_t H, P;
  // From this step's input to that of the next one.
  int64_t x_ahead;
};

// Step s of the scan of a unit's rows over the steps [low, high): where each row stands.
template <bool ATTENTION>
Step begin_step(const Problem& p, int64_t g, const Row* rows, int64_t count, const Steps& steps, int64_t s,
                Cell* cells) {
  const bool backwards = p.reverse != nullptr && p.reverse[g];
  const int64_t i = place(steps, s, backwards);
  for (int64_t m = 0; m < count; m++) {
    const int64_t b = rows[m].b;
    Cell& cell = cells[m];
    cell.x = p.x + p.x_strides.at(g, b, i);
    cell.on = p.mask[p.mask_strides.at(g, b, i)];
    if constexpr (ATTENTION) {
      cell.gate = p.gate[p.gate_strides.at(g, b, i)];
    } else {
      cell.state = p.output + ((g * p.batch + b) * p.steps + i) * p.hidden;
    }
  }
  // The next step's memory is asked for early; the last step asks for its own.
  const int64_t ahead = s + 1 < steps.high ? (backwards ? -1 : 1) : 0;
  return {p.hidden, padded(p.hidden), ahead * p.x_strides.step};
}

// The gates and the new state of one panel of W columns for ROWS rows, from the product of the states with the weights;
// put(row, state) gets it.
template <bool ATTENTION, bool KEEP, bool TAIL, int ROWS, class Put>
DMNPLUS_INLINE void finish_tile(const Step& step, const V (&product)[ROWS][ATTENTION ? 2 : 3], const float* h,
                                const Cell* cells, int64_t j, float* kept, const Put& put) {
  const int64_t H = step.H, P = step.P;
  constexpr int R = ATTENTION ? 0 : 1, C = R + 1;
  // A masked row is computed too, from whatever its input holds, and then keeps its state.
  constexpr int N = ROWS;
  const int64_t column = j * W;
  const int lanes = static_cast<int>(std::min<int64_t>(W, H - column));
  const auto input = [&](int m, int gate) { return load_part<TAIL>(cells[m].x + gate * H + column, lanes); };
  V before[N], r[N], u[N], c[N], t[N], numerator[N], denominator[N];
  DMNPLUS_EACH {
    for (int gate = 0; gate <= C; gate++) __builtin_prefetch(cells[i].x + gate * H + column + step.x_ahead);
  }
  DMNPLUS_EACH t[i] = fma(input(i, R), set1(SIGMOID), product[i][R]);
  sigmoid_denominator(t, r);
  DMNPLUS_EACH r[i] = inverse(r[i]);
  DMNPLUS_EACH t[i] = fma(r[i], product[i][C], input(i, C) * set1(TANH));
  tanh_ratio(t, numerator, denominator);
  DMNPLUS_EACH before[i] = load(h + i * P + column);
  if constexpr (ATTENTION) {
    DMNPLUS_EACH c[i] = numerator[i] * inverse(denominator[i]);
    DMNPLUS_EACH u[i] = set1(cells[i].gate);
  } else {
    V both[N], D[N];
    DMNPLUS_EACH t[i] = fma(input(i, 0), set1(SIGMOID), product[i][0]);
    sigmoid_denominator(t, D);
    // u = 1 / D and c = numerator / denominator by one division.
    DMNPLUS_EACH both[i] = inverse(D[i] * denominator[i]);
    DMNPLUS_EACH u[i] = both[i] * denominator[i];
    DMNPLUS_EACH c[i] = numerator[i] * (both[i] * D[i]);
  }
  V next[N];
  DMNPLUS_EACH next[i] = fma(u[i], c[i] - before[i], before[i]);
  // Else GCC moves all of the above into the branch below, row by row.
  DMNPLUS_EACH pin(next[i]);
  DMNPLUS_EACH {
    const V after = cells[i].on ? next[i] : before[i];
    put(i, after);
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

// What the scan of a row leaves behind: its last state, which the GRU's states after its unit's steps are too.
template <bool ATTENTION>
void finish_row(const Problem& p, int64_t g, int64_t b, const Steps& steps, bool backwards, const float* last) {
  const int64_t H = p.hidden, F = p.steps;
  const auto [low, high] = steps;
  if constexpr (ATTENTION) {
    std::memcpy(p.output + (g * p.batch + b) * H, last, H * sizeof(float));
  } else {
    // Zero before the first step in the order of the scan.
    float* state = p.output + (g * p.batch + b) * F * H;
    const bool none = low >= high;
    for (int64_t i = 0; i < F; i++) {
      if (steps.has(i)) continue;
      const bool after = !none && (backwards ? i < low : i >= high);
      if (after) {
        std::memcpy(state + i * H, last, H * sizeof(float));
      } else {
        std::memset(state + i * H, 0, H * sizeof(float));
      }
    }
  }
}

// From one step's memory to that of the next one.
struct Ahead {
  int64_t x, state;
};

// One row and step: the gradients of the input, and the direct part of d_h. put(part, column, values) gets those of
// the gates and, as the part after them, the state before.
template <bool ATTENTION, class Put>
DMNPLUS_INLINE void backward_cell(const Kept& all, int64_t step, int64_t row, const float* h_before,
                                  const float* grad_state, float gate, float* d_h, float* grad_x, float* grad_gate,
                                  const Ahead& ahead, int64_t H, const Put& put) {
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
    put(ATTENTION ? 2 : 3, column, h);
    const V d_c = d * u * fnma(c, c, one);
    // n is kept scaled by TANH.
    const V d_r = d_c * n * set1(1.0f / TANH) * r * (one - r);
    const V d_n = d_c * r;
    if constexpr (ATTENTION) {
      d_gate = fma(d, c - h, d_gate);
      put(0, column, d_r);
      put(1, column, d_n);
      store_part<TAIL>(grad_x + column, d_r, lanes);
      store_part<TAIL>(grad_x + H + column, d_c, lanes);
    } else {
      const V d_u = d * (c - h) * u * (one - u);
      put(0, column, d_u);
      put(1, column, d_r);
      put(2, column, d_n);
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

template <bool ATTENTION>
void clear_step(const Problem& p, int64_t g, int64_t b, int64_t i) {
  std::memset(p.grad_x + p.grad_x_strides.at(g, b, i), 0, (ATTENTION ? 2 : 3) * p.hidden * sizeof(float));
  if constexpr (ATTENTION) p.grad_gate[(g * p.batch + b) * p.steps + i] = 0.0f;
}

inline void add_gradient(const Problem& p, int64_t g, int64_t b, int64_t i, float* d_h) {
  const float* grad = p.grad_output + p.grad_output_strides.at(g, b, i);
  for (int64_t l = 0; l < p.hidden; l++) d_h[l] += grad[l];
}

// The steps that any row of a unit has, and d_h [count][P] as it is after the last of them.
template <bool ATTENTION>
Steps begin_backward(const Problem& p, int64_t g, const Row* rows, int64_t count, float* d_h) {
  const int64_t P = padded(p.hidden), F = p.steps;
  const bool backwards = p.reverse != nullptr && p.reverse[g];
  const auto [low, high] = steps_of_unit(p, rows, count);
  std::memset(d_h, 0, count * P * sizeof(float));
  for (int64_t m = 0; m < count; m++) {
    const int64_t b = rows[m].b;
    for (int64_t i = 0; i < F; i++) {
      if (i >= low && i < high) continue;
      clear_step<ATTENTION>(p, g, b, i);
      // The states after the last step are that step's.
      if (!ATTENTION && (backwards ? i < low : i >= high)) add_gradient(p, g, b, i, d_h + m * P);
    }
    if (ATTENTION) add_gradient(p, g, b, 0, d_h + m * P);
  }
  return {low, high};
}

// `backward_cell` of row m of a unit at step i, whose next step is `next` away. False where it is masked, and put is
// not called.
template <bool ATTENTION, class Put>
DMNPLUS_INLINE bool backward_row(const Problem& p, int64_t g, int64_t b, int64_t m, int64_t i, int64_t next,
                                 const Kept& kept, float* d_h, const Put& put) {
  if (!p.mask[p.mask_strides.at(g, b, i)]) {
    clear_step<ATTENTION>(p, g, b, i);
    if constexpr (!ATTENTION) add_gradient(p, g, b, i, d_h);
    return false;
  }
  const Ahead ahead = {next * p.grad_x_strides.step, next * p.grad_output_strides.step};
  const int64_t row = (g * p.batch + b) * p.steps;
  const float* h_before = nullptr;
  const float* grad_state = nullptr;
  float gate = 0.0f;
  float* grad_gate = nullptr;
  if constexpr (ATTENTION) {
    gate = p.gate[p.gate_strides.at(g, b, i)];
    grad_gate = p.grad_gate + row + i;
  } else {
    const bool backwards = p.reverse != nullptr && p.reverse[g];
    const int64_t before = backwards ? i + 1 : i - 1;
    if (before >= 0 && before < p.steps) h_before = p.output + (row + before) * p.hidden;
    grad_state = p.grad_output + p.grad_output_strides.at(g, b, i);
  }
  backward_cell<ATTENTION>(kept, i, m, h_before, grad_state, gate, d_h, p.grad_x + p.grad_x_strides.at(g, b, i),
                           grad_gate, ahead, p.hidden, put);
  return true;
}

}  // namespace dmnplus
