// The two recurrences, forward and backward, over rows of different length.
//
// GRU:            u = sigmoid(x_u + U_u h), r = sigmoid(x_r + U_r h), c = tanh(x_c + r * (U_c h)), h' = h + u * (c - h)
// attention GRU:  the same with the scalar gate g of the fact in the place of u.
//
// Rows (one per group and batch element) never meet, so that a unit of a few rows runs the whole scan on one
// thread, its state and one panel of weights in the first-level cache, with nothing to wait for between steps.
// What a row gives does not depend on the rows beside it nor on the number of threads: every tile height multiplies
// in the same order, and the weight gradient is summed over lanes whose number depends on the shape alone.
//
// Symbols: n = U_c h, scaled by TANH as it is kept; d_ the gradient of; W lanes of a vector, H hidden, P hidden padded.
#pragma once

#include "parallel.hpp"
#include "scan_matrix.hpp"
#include "scan_vector.hpp"

namespace dmnplus {

// Unit: `VectorUnit` or `MatrixUnit`.
template <bool ATTENTION, class Unit>
void forward(const Problem& p) {
  constexpr int GATES = ATTENTION ? 2 : 3;
  const int64_t H = p.hidden;
  const Plan plan(p, Unit::ROWS);
  const int64_t packed_size = Unit::template packed_forward_floats<GATES>(H);
  static thread_local Scratch packed_memory;
  float* packed = packed_memory.floats(p.groups * packed_size);
  std::vector<std::vector<Row>> rows(p.groups);
  const int64_t threads = useful_threads(p, GATES, 1);
  for_each(threads, p.groups, [&](int64_t g) {
    rows[g] = sorted_rows(p, g);
    Unit::template pack_forward<GATES>(p.weight + g * GATES * H * H, H, packed + g * packed_size);
  });
  for_each(threads, p.groups * plan.units, [&](int64_t item) {
    // The longest units of all groups first.
    const int64_t g = item % p.groups, start = item / p.groups * plan.unit_rows;
    const int64_t count = std::min(plan.unit_rows, p.batch - start);
    static thread_local Scratch memory;
    float* scratch = memory.floats(Unit::template forward_floats<GATES>(H));
    const auto run =
        p.kept != nullptr ? Unit::template forward<ATTENTION, true> : Unit::template forward<ATTENTION, false>;
    run(p, g, rows[g].data() + start, count, packed + g * packed_size, scratch, Kept(p, g, start, count));
  });
}

template <bool ATTENTION, class Unit>
void backward(const Problem& p) {
  constexpr int GATES = ATTENTION ? 2 : 3;
  const int64_t H = p.hidden;
  if (p.batch == 0 || p.steps == 0) {
    // No row and so no lane to sum over.
    std::memset(p.grad_weight, 0, p.groups * GATES * H * H * sizeof(float));
    return;
  }
  const Plan plan(p, Unit::ROWS);
  const int64_t packed_size = Unit::template packed_backward_floats<GATES>(H);
  const int64_t partial_size = Unit::template partial_floats<GATES>(H);
  static thread_local Scratch packed_memory, partial_memory;
  float* packed = packed_memory.floats(p.groups * packed_size);
  float* partial = partial_memory.floats(p.groups * plan.lanes * partial_size);
  std::vector<std::vector<Row>> rows(p.groups);
  const int64_t threads = useful_threads(p, GATES, 2);
  for_each(threads, p.groups, [&](int64_t g) {
    rows[g] = sorted_rows(p, g);
    Unit::template pack_backward<GATES>(p.weight + g * GATES * H * H, H, packed + g * packed_size);
  });
  for_each(threads, p.groups * plan.lanes, [&](int64_t item) {
    const int64_t g = item % p.groups, lane = item / p.groups;
    static thread_local Scratch memory;
    float* scratch = memory.floats(Unit::template backward_floats<GATES>(H));
    float* grad_weight = partial + (g * plan.lanes + lane) * partial_size;
    std::memset(grad_weight, 0, partial_size * sizeof(float));
    for (int64_t unit = lane; unit < plan.units; unit += plan.lanes) {
      const int64_t start = unit * plan.unit_rows, count = std::min(plan.unit_rows, p.batch - start);
      Unit::template backward<ATTENTION>(p, g, rows[g].data() + start, count, packed + g * packed_size, grad_weight,
                                         scratch, Kept(p, g, start, count));
    }
  });
  for_each(threads, p.groups * GATES, [&](int64_t item) {
    const int64_t g = item / GATES, gate = item % GATES;
    Unit::template add_up<GATES>(partial + g * plan.lanes * partial_size, plan.lanes, gate, H,
                                 p.grad_weight + g * GATES * H * H);
  });
}

template <bool ATTENTION>
void forward(const Problem& p) {
#if defined(DMNPLUS_MATRIX_UNIT)
  if (matrix_unit()) return forward<ATTENTION, MatrixUnit>(p);
#endif
  forward<ATTENTION, VectorUnit>(p);
}

template <bool ATTENTION>
void backward(const Problem& p) {
#if defined(DMNPLUS_MATRIX_UNIT)
  if (matrix_unit()) return backward<ATTENTION, MatrixUnit>(p);
#endif
  backward<ATTENTION, VectorUnit>(p);
}

// Python's block ends before `reverse`.
template <class Run>
int guarded(const void* fields, const uint8_t* reverse, const Run& run) {
  return guarded<Problem>(fields, offsetof(Problem, reverse), [&](Problem& problem) {
    problem.reverse = reverse;
    run(problem);
  });
}

}  // namespace dmnplus
