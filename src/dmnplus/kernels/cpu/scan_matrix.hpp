// The scans of one unit of rows, multiplied by the matrix unit: two tiles of rows, so that packed weights are read once
// for both.
#pragma once

#include "cells.hpp"
#include "matrix_unit.hpp"

namespace dmnplus {

#if defined(DMNPLUS_MATRIX_UNIT)

static_assert(W == SIDE && PADDING == SIDE);

// Rows of a unit's history, as HISTORY.
constexpr int64_t MATRIX_HISTORY = 128;

// ---- forward

// The tile columns of a step are [panel][gate].
template <int GATES>
Panels forward_panels(int64_t H) {
  return {GATES * padded(H), H};
}

// The transposed weights, scaled for exp2.
template <int GATES>
void pack_forward_matrix(const float* weight, int64_t H, float* packed) {
  forward_panels<GATES>(H).each(reinterpret_cast<char*>(packed), [&](int64_t t, int64_t s, char* hi, char* lo) {
    const int64_t gate = t % GATES, column = t / GATES * SIDE;
    pack_tile_transposed(weight + (gate * H + column) * H + s * STEP, H, H - column, H - s * STEP,
                         gate == GATES - 1 ? TANH : SIGMOID, hi, lo);
  });
}

// The state of a unit's rows.
struct MatrixState {
  // [count][P], and the same as the matrix unit takes it.
  float* state;
  Split split;
  // [panel][gate][2 SIDE][W].
  float* sums;

  static int64_t floats(int64_t H, int gates) {
    return 2 * SIDE * padded(H) + Split::floats(2 * SIDE, H) + 2 * SIDE * padded(H) * gates;
  }
  MatrixState(float* memory, int64_t H)
      : state(memory),
        split(memory + 2 * SIDE * padded(H), 2 * SIDE, H),
        sums(memory + 2 * SIDE * padded(H) + Split::floats(2 * SIDE, H)) {
    std::memset(state, 0, 2 * SIDE * padded(H) * sizeof(float));
    split.clear(2 * SIDE);
  }
};

// The gates and the new state of one panel and up to ROWS rows from `row` on.
template <bool ATTENTION, bool KEEP, int ROWS>
struct FinishRows {
  static void run(int64_t rows, const Step& step, const MatrixState& unit, int64_t row, const Cell* cells, int64_t j,
                  float* kept) {
    if (rows < ROWS) {
      if constexpr (ROWS > 1) FinishRows<ATTENTION, KEEP, ROWS - 1>::run(rows, step, unit, row, cells, j, kept);
    } else if ((j + 1) * W > step.H) {
      finish<true>(step, unit, row, cells, j, kept);
    } else {
      finish<false>(step, unit, row, cells, j, kept);
    }
  }

 private:
  template <bool TAIL>
  static void finish(const Step& step, const MatrixState& unit, int64_t row, const Cell* cells, int64_t j,
                     float* kept) {
    constexpr int GATES = ATTENTION ? 2 : 3;
    const float* sums = unit.sums + (j * GATES * 2 * SIDE + row) * W;
    float* state = unit.state + row * step.P;
    V product[ROWS][GATES];
    DMNPLUS_UNROLL
    for (int m = 0; m < ROWS; m++) {
      DMNPLUS_UNROLL
      for (int gate = 0; gate < GATES; gate++) product[m][gate] = load(sums + (gate * 2 * SIDE + m) * W);
    }
    const auto put = [&](int m, V after) DMNPLUS_INLINED {
      store(state + m * step.P + j * W, after);
      store(unit.split, row + m, j * W, after);
    };
    finish_tile<ATTENTION, KEEP, TAIL>(step, product, state, cells, j, kept, put);
  }
};

template <bool ATTENTION, bool KEEP>
void forward_unit_matrix(const Problem& p, int64_t g, const Row* rows, int64_t count, const float* packed,
                         float* scratch, const Kept& kept) {
  constexpr int GATES = ATTENTION ? 2 : 3, ROWS = 4;
  const int64_t H = p.hidden, P = padded(H);
  const bool backwards = p.reverse != nullptr && p.reverse[g];
  const MatrixState unit(scratch, H);
  const Panels panels = forward_panels<GATES>(H);
  const Steps steps = steps_of_unit(p, rows, count);
  const Tiles tiles(std::min(SIDE, count));
  Cell cells[2 * SIDE];
  for (int64_t s = steps.low; s < steps.high; s++) {
    const int64_t i = place(steps, s, backwards);
    const Step step = begin_step<ATTENTION>(p, g, rows, count, steps, s, cells);
    multiply_panels(tiles_of(count), unit.split, reinterpret_cast<const char*>(packed), panels, unit.sums);
    for (int64_t j = 0; j < P / W; j++) {
      for (int64_t m = 0; m < count; m += ROWS) {
        FinishRows<ATTENTION, KEEP, ROWS>::run(std::min<int64_t>(ROWS, count - m), step, unit, m, cells + m, j,
                                               KEEP ? kept.at(i, j, m) : nullptr);
      }
    }
  }
  for (int64_t m = 0; m < count; m++) finish_row<ATTENTION>(p, g, rows[m].b, steps, backwards, unit.state + m * P);
}

// ---- backward

template <int GATES>
void pack_backward_matrix(const float* weight, int64_t H, float* packed) {
  const int64_t P = padded(H);
  // Gates begin at multiples of P, as in the history.
  std::vector<float> apart(P == H ? 0 : GATES * P * H);
  for (int64_t k = 0; k < GATES * H && P != H; k++) {
    std::memcpy(apart.data() + (k / H * P + k % H) * H, weight + k * H, H * sizeof(float));
  }
  pack_panels_straight(P == H ? weight : apart.data(), H, GATES * P, reinterpret_cast<char*>(packed));
}

// Partial sums of the weight gradient: rows are those of the state, columns those of the gates, which begin at
// multiples of P.
template <int GATES>
Outer weight_sums(int64_t H) {
  return {padded(H), GATES * padded(H)};
}

// What a thread needs for one unit.
template <int GATES>
struct BackwardMatrixScratch {
  float* d_h;
  Split d_gates, h;
  float *sums, *outer;

  // Two tiles of rows may begin at the last one.
  static constexpr int64_t ROWS = MATRIX_HISTORY + 2 * SIDE;
  static int64_t size(int64_t P) {
    return 2 * SIDE * P + Split::floats(ROWS, GATES * P) + Split::floats(ROWS, P) + 2 * SIDE * P +
           Outer(P, GATES * P).scratch_floats(MATRIX_HISTORY);
  }
  BackwardMatrixScratch(float* memory, int64_t P)
      : d_h(memory),
        d_gates(memory + 2 * SIDE * P, ROWS, GATES * P),
        h(memory + 2 * SIDE * P + Split::floats(ROWS, GATES * P), ROWS, P) {
    sums = memory + 2 * SIDE * P + Split::floats(ROWS, GATES * P) + Split::floats(ROWS, P);
    outer = sums + 2 * SIDE * P;
    // What pads a row stays zero.
    for (int64_t row = 0; row < ROWS; row++) {
      for (int64_t c = GATES * P; c < d_gates.stride; c += W) store(d_gates, row, c, zero());
    }
  }
};

template <bool ATTENTION>
void backward_unit_matrix(const Problem& p, int64_t g, const Row* rows, int64_t count, const float* packed,
                          float* grad_weight, const BackwardMatrixScratch<ATTENTION ? 2 : 3>& scratch,
                          const Kept& kept) {
  constexpr int GATES = ATTENTION ? 2 : 3;
  const int64_t H = p.hidden, P = padded(H);
  const bool backwards = p.reverse != nullptr && p.reverse[g];
  const Outer outer = weight_sums<GATES>(H);
  const Panels panels(H, GATES * P);
  const auto [low, high] = begin_backward<ATTENTION>(p, g, rows, count, scratch.d_h);
  const Tiles tiles(SIDE);
  int64_t depth = 0;
  for (int64_t s = low; s < high; s++) {
    const int64_t i = backwards ? s : low + high - 1 - s;
    const int64_t next = s + 1 < high ? (backwards ? 1 : -1) : 0;
    float* active[2 * SIDE];
    int64_t n = 0;
    for (int64_t m = 0; m < count; m++) {
      float* d_h = scratch.d_h + m * P;
      const auto put = [&](int part, int64_t column, V values) DMNPLUS_INLINED {
        if (part == GATES) {
          store(scratch.h, depth + n, column, values);
        } else {
          store(scratch.d_gates, depth + n, part * P + column, values);
        }
      };
      if (backward_row<ATTENTION>(p, g, rows[m].b, m, i, next, kept, d_h, put)) active[n++] = d_h;
    }
    if (n == 0) continue;
    multiply_panels(tiles_of(n), scratch.d_gates.from(depth), reinterpret_cast<const char*>(packed), panels,
                    scratch.sums);
    for (int64_t m = 0; m < n; m++) {
      const float* sums = scratch.sums + m * W;
      for (int64_t c = 0; c < P; c += W, sums += 2 * SIDE * W) {
        store(active[m] + c, load(active[m] + c) + load(sums));
      }
    }
    depth += n;
    if (depth + 2 * SIDE > MATRIX_HISTORY) {
      outer.add(scratch.h, scratch.d_gates, depth, scratch.outer, grad_weight);
      depth = 0;
    }
  }
  outer.add(scratch.h, scratch.d_gates, depth, scratch.outer, grad_weight);
}

// As `VectorUnit`.
struct MatrixUnit {
  static constexpr int64_t ROWS = 2 * SIDE;

  template <int GATES>
  static int64_t packed_forward_floats(int64_t H) {
    return forward_panels<GATES>(H).floats();
  }
  template <int GATES>
  static void pack_forward(const float* weight, int64_t H, float* packed) {
    pack_forward_matrix<GATES>(weight, H, packed);
  }
  template <int GATES>
  static int64_t forward_floats(int64_t H) {
    return MatrixState::floats(H, GATES);
  }
  template <bool ATTENTION, bool KEEP>
  static void forward(const Problem& p, int64_t g, const Row* rows, int64_t count, const float* packed, float* scratch,
                      const Kept& kept) {
    forward_unit_matrix<ATTENTION, KEEP>(p, g, rows, count, packed, scratch, kept);
  }

  template <int GATES>
  static int64_t packed_backward_floats(int64_t H) {
    return Panels(H, GATES * padded(H)).floats();
  }
  template <int GATES>
  static void pack_backward(const float* weight, int64_t H, float* packed) {
    pack_backward_matrix<GATES>(weight, H, packed);
  }
  template <int GATES>
  static int64_t backward_floats(int64_t H) {
    return BackwardMatrixScratch<GATES>::size(padded(H));
  }
  template <bool ATTENTION>
  static void backward(const Problem& p, int64_t g, const Row* rows, int64_t count, const float* packed,
                       float* grad_weight, float* scratch, const Kept& kept) {
    backward_unit_matrix<ATTENTION>(p, g, rows, count, packed, grad_weight, {scratch, padded(p.hidden)}, kept);
  }
  template <int GATES>
  static int64_t partial_floats(int64_t H) {
    return weight_sums<GATES>(H).floats();
  }
  template <int GATES>
  static void add_up(float* partial, int64_t lanes, int64_t gate, int64_t H, float* grad_weight) {
    const Outer outer = weight_sums<GATES>(H);
    const int64_t P = padded(H), tiles = tiles_of(P);
    for (int64_t a = 0; a < tiles; a++) {
      float* sums = partial + (a * outer.b_tiles + gate * tiles) * SIDE * SIDE;
      for (int64_t lane = 1; lane < lanes; lane++) {
        const float* from = sums + lane * outer.floats();
        for (int64_t i = 0; i < tiles * SIDE * SIDE; i++) sums[i] += from[i];
      }
    }
    for (int64_t k = 0; k < H; k++) {
      for (int64_t l = 0; l < H; l++) grad_weight[(gate * H + k) * H + l] = outer.at(partial, l, gate * P + k);
    }
  }
};

#endif

}  // namespace dmnplus
