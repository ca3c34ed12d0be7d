// The scans of one unit of rows, multiplied in vector registers.
#pragma once

#include "cells.hpp"

namespace dmnplus {

constexpr int64_t UNIT_ROWS = 16;
// Steps times rows whose gate gradients are collected before they are multiplied into the weight gradient.
constexpr int64_t HISTORY = 96;

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

// One panel of W columns for ROWS rows: the product with the weights, the gates and the new state.
template <bool ATTENTION, bool KEEP, bool TAIL, int ROWS>
DMNPLUS_INLINE void forward_tile(const Step& step, const float* packed, const float* h, float* h_new, const Cell* cells,
                                 int64_t j, float* kept) {
  const int64_t H = step.H, P = step.P;
  constexpr int GATES = ATTENTION ? 2 : 3;
  V product[ROWS][GATES];
  DMNPLUS_UNROLL
  for (int m = 0; m < ROWS; m++) {
    DMNPLUS_UNROLL
    for (int gate = 0; gate < GATES; gate++) product[m][gate] = zero();
  }
  const float* panel = packed + j * H * GATES * W;
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
  const auto put = [&](int m, V state) DMNPLUS_INLINED { store(h_new + m * P + j * W, state); };
  finish_tile<ATTENTION, KEEP, TAIL>(step, product, h, cells, j, kept, put);
}

template <bool ATTENTION, bool KEEP, int ROWS>
struct ForwardTiles {
  static void run(int rows, const Step& step, const float* packed, const float* h, float* h_new, const Cell* cells,
                  int64_t j, float* kept) {
    if (rows < ROWS) {
      if constexpr (ROWS > 1) {
        ForwardTiles<ATTENTION, KEEP, ROWS - 1>::run(rows, step, packed, h, h_new, cells, j, kept);
      }
    } else if ((j + 1) * W > step.H) {
      forward_tile<ATTENTION, KEEP, true, ROWS>(step, packed, h, h_new, cells, j, kept);
    } else {
      forward_tile<ATTENTION, KEEP, false, ROWS>(step, packed, h, h_new, cells, j, kept);
    }
  }
};

template <bool ATTENTION, bool KEEP>
void forward_unit(const Problem& p, int64_t g, const Row* rows, int64_t count, const float* packed, float* scratch,
                  const Kept& kept) {
  constexpr int64_t TILE = ATTENTION ? ROWS_SCAN : ROWS_3;
  const int64_t H = p.hidden, P = padded(H);
  const bool backwards = p.reverse != nullptr && p.reverse[g];
  const int64_t panels = (H + W - 1) / W, tiles = (count + TILE - 1) / TILE;
  // Two states per tile: the panels of a step all read the old one.
  float* states[2] = {scratch, scratch + UNIT_ROWS * P};
  std::memset(scratch, 0, 2 * UNIT_ROWS * P * sizeof(float));
  int current[UNIT_ROWS] = {};
  Steps of_tile[UNIT_ROWS];
  for (int64_t t = 0; t < tiles; t++) {
    of_tile[t] = steps_of_unit(p, rows + t * TILE, std::min(TILE, count - t * TILE));
  }
  const Steps steps = steps_of_unit(p, rows, count);
  Cell cells[UNIT_ROWS];
  for (int64_t s = steps.low; s < steps.high; s++) {
    const int64_t i = place(steps, s, backwards);
    const Step step = begin_step<ATTENTION>(p, g, rows, count, steps, s, cells);
    for (int64_t j = 0; j < panels; j++) {
      for (int64_t t = 0; t < tiles; t++) {
        if (!of_tile[t].has(i)) continue;
        const int64_t m = t * TILE;
        const float* h = states[current[t]] + m * P;
        float* h_new = states[1 - current[t]] + m * P;
        const int height = static_cast<int>(std::min(TILE, count - m));
        ForwardTiles<ATTENTION, KEEP, TILE>::run(height, step, packed, h, h_new, cells + m, j,
                                                 KEEP ? kept.at(i, j, m) : nullptr);
      }
    }
    for (int64_t t = 0; t < tiles; t++)
      if (of_tile[t].has(i)) current[t] = 1 - current[t];
  }
  for (int64_t m = 0; m < count; m++) {
    const int64_t t = m / TILE;
    finish_row<ATTENTION>(p, g, rows[m].b, of_tile[t], backwards, states[current[t]] + m * P);
  }
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
  const int64_t H = p.hidden, P = padded(H);
  const bool backwards = p.reverse != nullptr && p.reverse[g];
  const auto [low, high] = begin_backward<ATTENTION>(p, g, rows, count, scratch.d_h);
  int64_t depth = 0;
  for (int64_t s = low; s < high; s++) {
    const int64_t i = backwards ? s : low + high - 1 - s;
    const int64_t next = s + 1 < high ? (backwards ? 1 : -1) : 0;
    float* active[UNIT_ROWS];
    int64_t n = 0;
    float* d_gates = scratch.d_gates + depth * GATES * P;
    float* h = scratch.h + depth * P;
    for (int64_t m = 0; m < count; m++) {
      float* d_h = scratch.d_h + m * P;
      const auto put = [&](int part, int64_t column, V values) DMNPLUS_INLINED {
        store((part == GATES ? h + n * P : d_gates + (n * GATES + part) * P) + column, values);
      };
      if (backward_row<ATTENTION>(p, g, rows[m].b, m, i, next, kept, d_h, put)) active[n++] = d_h;
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

// What `scan.hpp` asks of whoever multiplies.
struct VectorUnit {
  static constexpr int64_t ROWS = UNIT_ROWS;

  template <int GATES>
  static int64_t packed_forward_floats(int64_t H) {
    return padded(H) * H * GATES;
  }
  template <int GATES>
  static void pack_forward(const float* weight, int64_t H, float* packed) {
    dmnplus::pack_forward<GATES>(weight, H, packed);
  }
  template <int GATES>
  static int64_t forward_floats(int64_t H) {
    return 2 * ROWS * padded(H);
  }
  template <bool ATTENTION, bool KEEP>
  static void forward(const Problem& p, int64_t g, const Row* rows, int64_t count, const float* packed, float* scratch,
                      const Kept& kept) {
    forward_unit<ATTENTION, KEEP>(p, g, rows, count, packed, scratch, kept);
  }

  template <int GATES>
  static int64_t packed_backward_floats(int64_t H) {
    return (padded(H) + W) * H * GATES;
  }
  template <int GATES>
  static void pack_backward(const float* weight, int64_t H, float* packed) {
    dmnplus::pack_backward<GATES>(weight, H, packed);
  }
  template <int GATES>
  static int64_t backward_floats(int64_t H) {
    return BackwardScratch<GATES>::size(padded(H));
  }
  template <bool ATTENTION>
  static void backward(const Problem& p, int64_t g, const Row* rows, int64_t count, const float* packed,
                       float* grad_weight, float* scratch, const Kept& kept) {
    backward_unit<ATTENTION>(p, g, rows, count, packed, grad_weight, {scratch, padded(p.hidden)}, kept);
  }
  // Of the weight gradient of one lane, and its sum over lanes for one gate.
  template <int GATES>
  static int64_t partial_floats(int64_t H) {
    return GATES * H * padded(H);
  }
  template <int GATES>
  static void add_up(float* partial, int64_t lanes, int64_t gate, int64_t H, float* grad_weight) {
    const int64_t P = padded(H), size = partial_floats<GATES>(H);
    for (int64_t k = gate * H; k < (gate + 1) * H; k++) {
      float* to = grad_weight + k * H;
      for (int64_t lane = 0; lane < lanes; lane++) {
        const float* from = partial + lane * size + k * P;
        for (int64_t l = 0; l < H; l++) to[l] = lane == 0 ? from[l] : to[l] + from[l];
      }
    }
  }
};

}  // namespace dmnplus
