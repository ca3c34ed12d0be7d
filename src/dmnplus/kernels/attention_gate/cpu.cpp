// The attention gate, forward and backward, over the real facts alone.
//
// z = [f o x; |f - x|], half = W z + b                        (attention_gate_half: x is the question)
// score = w2 . tanh(question_half + W z)                      (attention_gate: x is the memory)
//
// Real facts are gathered into blocks; z of a block is made in the first-level cache, forward and backward, and never
// written to memory. For the backward pass only tanh is kept. What a fact gives does not depend on the facts beside it
// nor on the number of threads: every tile height multiplies in the same order, and the gradients of W, w2 and b are
// summed over lanes whose number depends on the shape alone.
//
// Symbols: d_ the gradient of; W lanes of a vector, H hidden, K width of the half, P and Z: K and 2 H padded.
#include <type_traits>

#include "scan.hpp"

namespace dmnplus {
namespace {

// For lambdas: a product that a call could reach would leave the registers.
#define DMNPLUS_INLINED __attribute__((always_inline))

// Facts whose z stays in the first-level cache beside one panel of weights.
constexpr int64_t BLOCK_ROWS = 24;
// Facts whose z and gradients are collected before they are multiplied into the weight gradient.
constexpr int64_t COLLECTED = 4 * BLOCK_ROWS;
// Facts that a thread takes at a time in the forward pass.
constexpr int64_t TAKEN = 2 * BLOCK_ROWS;

// Filled by Python: every field has eight bytes. Strides count elements; the last axis is contiguous everywhere.
struct Gate {
  int64_t groups, batch, steps, hidden, width, threads;
  const float* facts;
  Strides facts_strides;
  const float* x;
  Strides x_strides;
  const uint8_t* mask;
  Strides mask_strides;
  const float* weight;
  // w2 or b.
  const float* row;
  const float* half;
  Strides half_strides;
  // [G, B, F, K]: tanh, null without a backward pass; or the half itself, an output.
  float* kept;
  float* scores;
  const float* grad_output;
  Strides grad_output_strides;
  // Contiguous, as all outputs.
  float *grad_facts, *grad_x, *grad_half, *grad_weight, *grad_row;

  int64_t place(int64_t g, int64_t b, int64_t i) const { return (g * batch + b) * steps + i; }
};

struct Fact {
  int64_t b, i;
};

// The real facts of one group; those of batch element b lie in [first[b], first[b + 1]).
struct RealFacts {
  std::vector<Fact> facts;
  std::vector<int64_t> first;

  void find(const Gate& p, int64_t g) {
    facts.reserve(p.batch * p.steps);
    first.reserve(p.batch + 1);
    for (int64_t b = 0; b < p.batch; b++) {
      first.push_back(facts.size());
      for (int64_t i = 0; i < p.steps; i++)
        if (p.mask[p.mask_strides.at(g, b, i)]) facts.push_back({b, i});
    }
    first.push_back(facts.size());
  }
};

int64_t useful_threads(const Gate& p, int products) {
  const double flops = 4.0 * p.groups * p.batch * p.steps * p.width * p.hidden * products;
  return std::max<int64_t>(1, std::min<int64_t>(p.threads, static_cast<int64_t>(flops / 1e6)));
}

// Calls work(tail, column, lanes) for the columns of one row, a vector at a time.
template <class Work>
DMNPLUS_INLINE void columns(int64_t count, const Work& work) {
  int64_t column = 0;
  for (; column + W <= count; column += W) work(std::false_type{}, column, W);
  if (column < count) work(std::true_type{}, column, static_cast<int>(count - column));
}

template <class Tail>
DMNPLUS_INLINE V load_columns(Tail, const float* p, int n) {
  return load_part<Tail::value>(p, n);
}

template <class Tail>
DMNPLUS_INLINE void store_columns(Tail, float* p, V a, int n) {
  store_part<Tail::value>(p, a, n);
}

DMNPLUS_INLINE V magnitude(V a) { return a < zero() ? zero() - a : a; }

// a times the sign of b, 0 where b is.
DMNPLUS_INLINE V times_sign(V a, V b) { return b < zero() ? zero() - a : (b > zero() ? a : zero()); }

// z [2 H] of one fact; what follows up to Z is left as it is.
DMNPLUS_INLINE void compare(const float* f, const float* x, int64_t H, float* z) {
  columns(H, [&](auto tail, int64_t column, int lanes) {
    const V a = load_columns(tail, f + column, lanes), b = load_columns(tail, x + column, lanes);
    store_columns(tail, z + column, a * b, lanes);
    store_columns(tail, z + H + column, magnitude(a - b), lanes);
  });
}

// Panels [K/2W][2H][2W] of the transposed weights; the last panel is W wide where K takes an odd number of vectors.
void pack_transposed(const float* weight, int64_t K, int64_t depth, float scale, float* packed) {
  const int64_t vectors = (K + W - 1) / W;
  for (int64_t v = 0; v < vectors; v++) {
    const int64_t stride = v + 1 == vectors && v % 2 == 0 ? W : 2 * W, lanes = std::min<int64_t>(W, K - v * W);
    const float* from = weight + v * W * depth;
    float* to = packed + v / 2 * depth * 2 * W + v % 2 * W;
    int64_t k = 0;
    if (lanes == W) {
      for (; k + BLOCK <= depth; k += BLOCK)
        for (int l = 0; l < W; l += BLOCK) transpose(from + l * depth + k, depth, scale, to + k * stride + l, stride);
    }
    for (; k < depth; k++)
      for (int64_t l = 0; l < W; l++) to[k * stride + l] = l < lanes ? from[l * depth + k] * scale : 0.0f;
  }
}

// Panels [2H/2W][K][2W] of the weights as they are, the last one as above.
void pack_straight(const float* weight, int64_t K, int64_t depth, float* packed) {
  const int64_t vectors = (depth + W - 1) / W;
  for (int64_t v = 0; v < vectors; v += 2) {
    const int64_t stride = v + 1 == vectors ? W : 2 * W, lanes = std::min<int64_t>(stride, depth - v * W);
    float* to = packed + v * W * K;
    for (int64_t k = 0; k < K; k++, to += stride) {
      std::memcpy(to, weight + k * depth + v * W, lanes * sizeof(float));
      for (int64_t l = lanes; l < stride; l++) to[l] = 0.0f;
    }
  }
}

// Rows [stride] times one packed panel: finish gets the product, its first row and its first column.
template <int VECTORS, int ROWS, class Finish>
DMNPLUS_INLINE void product_tile(const float* a, int64_t stride, const float* panel, int64_t depth, int64_t row,
                                 int64_t column, const Finish& finish) {
  V product[ROWS][VECTORS];
  DMNPLUS_UNROLL
  for (int m = 0; m < ROWS; m++) {
    DMNPLUS_UNROLL
    for (int v = 0; v < VECTORS; v++) product[m][v] = zero();
  }
  for (int64_t k = 0; k < depth; k++, panel += VECTORS * W) {
    V b[VECTORS];
    DMNPLUS_UNROLL
    for (int v = 0; v < VECTORS; v++) hold(b[v] = load(panel + v * W));
    DMNPLUS_UNROLL
    for (int m = 0; m < ROWS; m++) {
      const V s = set1(a[m * stride + k]);
      DMNPLUS_UNROLL
      for (int v = 0; v < VECTORS; v++) product[m][v] = fma(s, b[v], product[m][v]);
    }
  }
  finish(product, row, column);
}

template <int VECTORS, int ROWS, class Finish>
void product_tiles(int64_t rows, const float* a, int64_t stride, const float* panel, int64_t depth, int64_t row,
                   int64_t column, const Finish& finish) {
  for (; rows >= ROWS; rows -= ROWS, row += ROWS, a += ROWS * stride) {
    product_tile<VECTORS, ROWS>(a, stride, panel, depth, row, column, finish);
  }
  if constexpr (ROWS > 1) {
    if (rows > 0) product_tiles<VECTORS, ROWS - 1>(rows, a, stride, panel, depth, row, column, finish);
  }
}

template <class Finish>
void multiply(int64_t rows, const float* a, int64_t stride, const float* packed, int64_t depth, int64_t width,
              const Finish& finish) {
  for (int64_t column = 0; column < width; column += 2 * W, packed += depth * 2 * W) {
    if (column + W < width) {
      product_tiles<2, ROWS_2>(rows, a, stride, packed, depth, 0, column, finish);
    } else {
      product_tiles<1, ROWS_2>(rows, a, stride, packed, depth, 0, column, finish);
    }
  }
}

// ---- forward

template <bool SCORE>
void forward_block(const Gate& p, int64_t g, const Fact* facts, int64_t count, const float* packed, float* z) {
  const int64_t H = p.hidden, K = p.width, Z = padded(2 * H);
  const float* halves[BLOCK_ROWS];
  float* kept[BLOCK_ROWS];
  // Lane by lane, summed at the end.
  float scores[BLOCK_ROWS * W] = {};
  for (int64_t m = 0; m < count; m++) {
    const auto [b, i] = facts[m];
    compare(p.facts + p.facts_strides.at(g, b, i), p.x + p.x_strides.at(g, b, 0), H, z + m * Z);
    if constexpr (SCORE) halves[m] = p.half + p.half_strides.at(g, b, i);
    if (p.kept != nullptr) kept[m] = p.kept + p.place(g, b, i) * K;
  }
  const float* row = p.row + g * K;
  multiply(count, z, Z, packed, 2 * H, K, [&](auto& product, int64_t first, int64_t start) DMNPLUS_INLINED {
    constexpr int N = std::extent_v<std::remove_reference_t<decltype(product)>>;
    constexpr int VECTORS = std::extent_v<std::remove_reference_t<decltype(product)>, 1>;
    const auto finish = [&](auto tail, auto vector, int64_t column, int lanes) DMNPLUS_INLINED {
      constexpr int v = decltype(vector)::value;
      const V across = load_columns(tail, row + column, lanes);
      if constexpr (SCORE) {
        V t[N], numerator[N], denominator[N];
        // The weights are packed scaled by TANH.
        DMNPLUS_EACH {
          t[i] = fma(load_columns(tail, halves[first + i] + column, lanes), set1(TANH), product[i][v]);
        }
        tanh_ratio(t, numerator, denominator);
        DMNPLUS_EACH t[i] = numerator[i] / denominator[i];
        DMNPLUS_EACH {
          float* score = scores + (first + i) * W;
          store(score, fma(across, t[i], load(score)));
        }
        if (p.kept != nullptr) DMNPLUS_EACH store_columns(tail, kept[first + i] + column, t[i], lanes);
      } else {
        DMNPLUS_EACH store_columns(tail, kept[first + i] + column, product[i][v] + across, lanes);
      }
    };
    const auto vector = [&](auto v) DMNPLUS_INLINED {
      const int64_t column = start + decltype(v)::value * W;
      if (column + W <= K) {
        finish(std::false_type{}, v, column, W);
      } else {
        finish(std::true_type{}, v, column, static_cast<int>(K - column));
      }
    };
    vector(std::integral_constant<int, 0>{});
    if constexpr (VECTORS == 2) vector(std::integral_constant<int, 1>{});
  });
  if constexpr (SCORE) {
    for (int64_t m = 0; m < count; m++) p.scores[p.place(g, facts[m].b, facts[m].i)] = sum(load(scores + m * W));
  }
}

template <bool SCORE>
void forward_gate(const Gate& p) {
  const int64_t H = p.hidden, K = p.width, Z = padded(2 * H), packed_size = padded(K) * 2 * H;
  static thread_local Scratch packed_memory;
  float* packed = packed_memory.floats(p.groups * packed_size);
  std::vector<RealFacts> real(p.groups);
  const int64_t threads = useful_threads(p, 1);
  for_each(threads, p.groups, [&](int64_t g) {
    real[g].find(p, g);
    pack_transposed(p.weight + g * K * 2 * H, K, 2 * H, SCORE ? TANH : 1.0f, packed + g * packed_size);
    for (int64_t b = 0; b < p.batch; b++) {
      for (int64_t i = 0; i < p.steps; i++) {
        if (p.mask[p.mask_strides.at(g, b, i)]) continue;
        if constexpr (SCORE) {
          p.scores[p.place(g, b, i)] = 0.0f;
        } else {
          std::memset(p.kept + p.place(g, b, i) * K, 0, K * sizeof(float));
        }
      }
    }
  });
  const int64_t most = (p.batch * p.steps + TAKEN - 1) / TAKEN;
  for_each(threads, p.groups * most, [&](int64_t item) {
    const int64_t g = item / most, count = real[g].facts.size();
    static thread_local Scratch memory;
    float* z = memory.floats(BLOCK_ROWS * Z);
    const int64_t start = item % most * TAKEN, end = std::min(count, start + TAKEN);
    for (int64_t m = start; m < end; m += BLOCK_ROWS) {
      forward_block<SCORE>(p, g, real[g].facts.data() + m, std::min(BLOCK_ROWS, end - m), packed + g * packed_size, z);
    }
  });
}

// ---- backward

// What a thread needs for the facts that it collects.
struct GateScratch {
  float *z, *d_half, *d_z;

  static size_t size(int64_t Z, int64_t P) { return COLLECTED * (Z + P) + BLOCK_ROWS * Z; }
  GateScratch(float* memory, int64_t Z, int64_t P)
      : z(memory), d_half(z + COLLECTED * Z), d_z(d_half + COLLECTED * P) {}
};

// Partial gradients of one lane: of the weight [K, Z] and of w2 or b [P].
struct GatePartial {
  float *weight, *row;

  static size_t size(int64_t K, int64_t Z, int64_t P) { return K * Z + P; }
  GatePartial(float* memory, int64_t K, int64_t Z) : weight(memory), row(memory + K * Z) {}
};

// The gradient of the half of one fact, into d_half and out; adds to that of w2 or b.
template <bool SCORE>
DMNPLUS_INLINE void backward_half(const Gate& p, int64_t g, Fact fact, float* d_half, float* d_row) {
  const int64_t K = p.width;
  const float* grad = p.grad_output + p.grad_output_strides.at(g, fact.b, fact.i);
  const float* w2 = SCORE ? p.row + g * K : nullptr;
  const float* kept = SCORE ? p.kept + p.place(g, fact.b, fact.i) * K : nullptr;
  float* out = SCORE ? p.grad_half + p.place(g, fact.b, fact.i) * K : nullptr;
  columns(K, [&](auto tail, int64_t column, int lanes) {
    V d, d_across;
    if constexpr (SCORE) {
      const V t = load_columns(tail, kept + column, lanes), d_score = set1(*grad);
      d = d_score * load_columns(tail, w2 + column, lanes) * fnma(t, t, set1(1.0f));
      d_across = d_score * t;
      store_columns(tail, out + column, d, lanes);
    } else {
      d = d_across = load_columns(tail, grad + column, lanes);
    }
    store(d_half + column, d);
    store(d_row + column, load(d_row + column) + d_across);
  });
}

// From the gradient of z to those of one fact and, added up, of the vector that it is compared with.
DMNPLUS_INLINE void backward_compare(const float* f, const float* x, const float* d_z, int64_t H, float* d_f,
                                     float* d_x) {
  columns(H, [&](auto tail, int64_t column, int lanes) {
    const V a = load_columns(tail, f + column, lanes), b = load_columns(tail, x + column, lanes);
    const V product = load_columns(tail, d_z + column, lanes);
    const V difference = times_sign(load_columns(tail, d_z + H + column, lanes), a - b);
    store_columns(tail, d_f + column, fma(product, b, difference), lanes);
    store_columns(tail, d_x + column, load_columns(tail, d_x + column, lanes) + (product * a - difference), lanes);
  });
}

// d_z = d_half times the weights, for one block.
void multiply_back(int64_t rows, const float* d_half, const float* packed, int64_t K, int64_t H, float* d_z) {
  const int64_t Z = padded(2 * H);
  multiply(rows, d_half, padded(K), packed, K, 2 * H, [&](auto& product, int64_t first, int64_t column) DMNPLUS_INLINED {
    constexpr int N = std::extent_v<std::remove_reference_t<decltype(product)>>;
    constexpr int VECTORS = std::extent_v<std::remove_reference_t<decltype(product)>, 1>;
    DMNPLUS_EACH {
      DMNPLUS_UNROLL
      for (int v = 0; v < VECTORS; v++) store(d_z + (first + i) * Z + column + v * W, product[i][v]);
    }
  });
}

template <bool SCORE>
void backward_collected(const Gate& p, int64_t g, const Fact* facts, int64_t count, const float* packed,
                        const GateScratch& scratch, const GatePartial& partial) {
  const int64_t H = p.hidden, K = p.width, Z = padded(2 * H), P = padded(K);
  for (int64_t start = 0; start < count; start += BLOCK_ROWS) {
    const int64_t rows = std::min(BLOCK_ROWS, count - start);
    float* d_half = scratch.d_half + start * P;
    for (int64_t m = 0; m < rows; m++) {
      backward_half<SCORE>(p, g, facts[start + m], d_half + m * P, partial.row);
    }
    multiply_back(rows, d_half, packed, K, H, scratch.d_z);
    for (int64_t m = 0; m < rows; m++) {
      const auto [b, i] = facts[start + m];
      const float* f = p.facts + p.facts_strides.at(g, b, i);
      const float* x = p.x + p.x_strides.at(g, b, 0);
      compare(f, x, H, scratch.z + (start + m) * Z);
      backward_compare(f, x, scratch.d_z + m * Z, H, p.grad_facts + p.place(g, b, i) * H,
                       p.grad_x + (g * p.batch + b) * H);
    }
  }
  const int64_t vectors = (2 * H + W - 1) / W;
  for (int64_t v = 0; v < vectors; v += 2) {
    for (int64_t k = 0; k < K; k += ROWS_2) {
      const int rows = static_cast<int>(std::min<int64_t>(ROWS_2, K - k));
      float* to = partial.weight + k * Z + v * W;
      if (v + 1 < vectors) {
        WeightTiles<ROWS_2, 2>::run(rows, scratch.d_half + k, P, scratch.z + v * W, Z, count, to);
      } else {
        WeightTiles<ROWS_2, 1>::run(rows, scratch.d_half + k, P, scratch.z + v * W, Z, count, to);
      }
    }
  }
}

template <bool SCORE>
void backward_lane(const Gate& p, int64_t g, int64_t lane, int64_t lanes, const RealFacts& real, const float* packed,
                   const GateScratch& scratch, const GatePartial& partial) {
  const int64_t H = p.hidden, K = p.width;
  // A lane has whole batch elements, since their facts add up to the gradient of one vector.
  const int64_t low = lane * p.batch / lanes, high = (lane + 1) * p.batch / lanes;
  for (int64_t b = low; b < high; b++) {
    std::memset(p.grad_x + (g * p.batch + b) * H, 0, H * sizeof(float));
    for (int64_t i = 0; i < p.steps; i++) {
      if (p.mask[p.mask_strides.at(g, b, i)]) continue;
      std::memset(p.grad_facts + p.place(g, b, i) * H, 0, H * sizeof(float));
      if constexpr (SCORE) std::memset(p.grad_half + p.place(g, b, i) * K, 0, K * sizeof(float));
    }
  }
  for (int64_t m = real.first[low]; m < real.first[high]; m += COLLECTED) {
    const int64_t count = std::min(COLLECTED, real.first[high] - m);
    backward_collected<SCORE>(p, g, real.facts.data() + m, count, packed, scratch, partial);
  }
}

template <bool SCORE>
void backward_gate(const Gate& p) {
  const int64_t H = p.hidden, K = p.width, Z = padded(2 * H), P = padded(K);
  const int64_t lanes = std::min(p.batch, LANES), packed_size = K * Z, partial_size = GatePartial::size(K, Z, P);
  static thread_local Scratch packed_memory, partial_memory;
  float* packed = packed_memory.floats(p.groups * packed_size);
  float* partials = partial_memory.floats(p.groups * lanes * partial_size);
  std::vector<RealFacts> real(p.groups);
  const int64_t threads = useful_threads(p, 2);
  for_each(threads, p.groups, [&](int64_t g) {
    real[g].find(p, g);
    pack_straight(p.weight + g * K * 2 * H, K, 2 * H, packed + g * packed_size);
  });
  for_each(threads, p.groups * lanes, [&](int64_t item) {
    const int64_t g = item / lanes, lane = item % lanes;
    static thread_local Scratch memory;
    const GateScratch scratch(memory.floats(GateScratch::size(Z, P)), Z, P);
    float* partial = partials + item * partial_size;
    std::memset(partial, 0, partial_size * sizeof(float));
    backward_lane<SCORE>(p, g, lane, lanes, real[g], packed + g * packed_size, scratch, {partial, K, Z});
  });
  for_each(threads, p.groups, [&](int64_t g) {
    const auto add_up = [&](int64_t offset, int64_t count, float* to) {
      for (int64_t l = 0; l < count; l++) to[l] = 0.0f;
      for (int64_t lane = 0; lane < lanes; lane++) {
        const float* from = partials + (g * lanes + lane) * partial_size + offset;
        for (int64_t l = 0; l < count; l++) to[l] += from[l];
      }
    };
    for (int64_t k = 0; k < K; k++) add_up(k * Z, 2 * H, p.grad_weight + (g * K + k) * 2 * H);
    add_up(K * Z, K, p.grad_row + g * K);
  });
}

// Nothing may be thrown through the C interface. Returns 0, or 1 where memory ran out.
template <class Run>
int guarded_gate(const void* fields, const Run& run) {
  try {
    Gate gate;
    std::memcpy(&gate, fields, sizeof gate);
    run(gate);
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

}  // namespace
}  // namespace dmnplus

// The second argument is there because all functions of the library have it.
extern "C" int dmnplus_attention_gate_forward(const void* fields, const uint8_t*) {
  return dmnplus::guarded_gate(fields, [](const dmnplus::Gate& p) { dmnplus::forward_gate<true>(p); });
}

extern "C" int dmnplus_attention_gate_backward(const void* fields, const uint8_t*) {
  return dmnplus::guarded_gate(fields, [](const dmnplus::Gate& p) { dmnplus::backward_gate<true>(p); });
}

extern "C" int dmnplus_attention_gate_half_forward(const void* fields, const uint8_t*) {
  return dmnplus::guarded_gate(fields, [](const dmnplus::Gate& p) { dmnplus::forward_gate<false>(p); });
}

extern "C" int dmnplus_attention_gate_half_backward(const void* fields, const uint8_t*) {
  return dmnplus::guarded_gate(fields, [](const dmnplus::Gate& p) { dmnplus::backward_gate<false>(p); });
}
