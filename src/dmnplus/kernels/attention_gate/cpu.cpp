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

#include "products.hpp"
#include "scan.hpp"

namespace dmnplus {
namespace {

// Facts whose z stays in the first-level cache beside one panel of weights.
constexpr int64_t BLOCK_ROWS = 24;
// Facts whose z and gradients are collected before they are multiplied into the weight gradient.
constexpr int64_t COLLECTED = 4 * BLOCK_ROWS;
// Facts that a thread takes at a time in the forward pass.
constexpr int64_t TAKEN = 4 * BLOCK_ROWS;
static_assert(COLLECTED % STEP == 0 && TAKEN % STEP == 0);

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

// Partial gradients per group: a lane should have some hundred facts, or adding up takes longer than they do.
int64_t lanes_of(const Gate& p) {
  return std::min(p.batch, std::min(LANES, std::max<int64_t>(4, p.batch * p.steps / (4 * COLLECTED))));
}

int64_t useful_threads(const Gate& p, int products) {
  return threads_worth(p.threads, 4.0 * p.groups * p.batch * p.steps * p.width * p.hidden * products);
}

DMNPLUS_INLINE V magnitude(V a) { return a < zero() ? zero() - a : a; }

// a times the sign of b, 0 where b is.
DMNPLUS_INLINE V times_sign(V a, V b) { return b < zero() ? zero() - a : (b > zero() ? a : zero()); }

// z of one fact, [f o x; |f - x|]: put(half, column, values, tail, lanes) gets it a vector at a time.
template <class Put>
DMNPLUS_INLINE void compare(const float* f, const float* x, int64_t H, const Put& put) {
  columns(H, [&](auto tail, int64_t column, int lanes) DMNPLUS_INLINED {
    const V a = load_columns(tail, f + column, lanes), b = load_columns(tail, x + column, lanes);
    put(0, column, a * b, tail, lanes);
    put(1, column, magnitude(a - b), tail, lanes);
  });
}

// The same into z [2 H]; what follows up to Z is left as it is.
DMNPLUS_INLINE void compare(const float* f, const float* x, int64_t H, float* z) {
  compare(f, x, H, [&](int half, int64_t column, V values, auto tail, int lanes) DMNPLUS_INLINED {
    store_columns(tail, z + half * H + column, values, lanes);
  });
}

// ---- forward

// Where the facts of one block are read and written.
template <bool SCORE, int64_t ROWS>
struct ForwardBlock {
  const float* row;
  const float* halves[ROWS];
  float* kept[ROWS];
  bool keeps;
  // Lane by lane, summed at the end.
  float scores[ROWS * W] = {};

  ForwardBlock(const Gate& p, int64_t g, const Fact* facts, int64_t count)
      : row(p.row + g * p.width), keeps(p.kept != nullptr) {
    for (int64_t m = 0; m < count; m++) {
      const auto [b, i] = facts[m];
      if constexpr (SCORE) halves[m] = p.half + p.half_strides.at(g, b, i);
      if (keeps) kept[m] = p.kept + p.place(g, b, i) * p.width;
    }
  }

  // What becomes of N rows of one vector of the product.
  template <class Tail, int N>
  DMNPLUS_INLINE void finish(ForwardBlock& block, Tail tail, const V (&product)[N], int64_t first, int64_t column,
                             int lanes) {
    const V across = load_columns(tail, block.row + column, lanes);
    if constexpr (SCORE) {
      V t[N], numerator[N], denominator[N];
      // The weights are packed scaled by TANH.
      DMNPLUS_EACH t[i] = fma(load_columns(tail, block.halves[first + i] + column, lanes), set1(TANH), product[i]);
      tanh_ratio(t, numerator, denominator);
      DMNPLUS_EACH t[i] = numerator[i] * inverse(denominator[i]);
      DMNPLUS_EACH {
        float* score = block.scores + (first + i) * W;
        store(score, fma(across, t[i], load(score)));
      }
      if (block.keeps) DMNPLUS_EACH store_columns(tail, block.kept[first + i] + column, t[i], lanes);
    } else {
      DMNPLUS_EACH store_columns(tail, block.kept[first + i] + column, product[i] + across, lanes);
    }
  }
  template <int N>
  DMNPLUS_INLINE void finish(ForwardBlock& block, const V (&product)[N], int64_t first, int64_t column, int64_t K) {
    if (column + W <= K) {
      finish(block, std::false_type{}, product, first, column, W);
    } else {
      finish(block, std::true_type{}, product, first, column, static_cast<int>(K - column));
    }
  }

  void write(const Gate& p, int64_t g, const Fact* facts, int64_t count) const {
    if constexpr (SCORE) {
      for (int64_t m = 0; m < count; m++) p.scores[p.place(g, facts[m].b, facts[m].i)] = sum(load(scores + m * W));
    }
  }
};

template <bool SCORE>
void forward_block(const Gate& p, int64_t g, const Fact* facts, int64_t count, const float* packed, float* z) {
  const int64_t H = p.hidden, K = p.width, Z = padded(2 * H);
  using Block = ForwardBlock<SCORE, BLOCK_ROWS>;
  Block block(p, g, facts, count);
  for (int64_t m = 0; m < count; m++) {
    const auto [b, i] = facts[m];
    compare(p.facts + p.facts_strides.at(g, b, i), p.x + p.x_strides.at(g, b, 0), H, z + m * Z);
  }
  multiply(count, z, Z, packed, 2 * H, K, [&](auto& product, int64_t first, int64_t start) DMNPLUS_INLINED {
    constexpr int N = std::extent_v<std::remove_reference_t<decltype(product)>>;
    constexpr int VECTORS = std::extent_v<std::remove_reference_t<decltype(product)>, 1>;
    DMNPLUS_UNROLL
    for (int v = 0; v < VECTORS; v++) {
      V column[N];
      DMNPLUS_EACH column[i] = product[i][v];
      Block::finish(block, column, first, start + v * W, K);
    }
  });
  block.write(p, g, facts, count);
}

#if defined(DMNPLUS_MATRIX_UNIT)

// Weights [K][2 H] as [K][2 P], so that both halves of z begin at a whole vector; `memory` is used where they do not.
const float* halves_apart(const float* weight, int64_t K, int64_t H, std::vector<float>& memory) {
  const int64_t P = padded(H);
  if (P == H) return weight;
  memory.assign(K * 2 * P, 0.0f);
  for (int64_t k = 0; k < 2 * K; k++) std::memcpy(memory.data() + k * P, weight + k * H, H * sizeof(float));
  return memory.data();
}

DMNPLUS_INLINE void compare(const float* f, const float* x, int64_t H, const Split& z, int64_t row) {
  compare(f, x, H, [&](int half, int64_t column, V values, auto, int) DMNPLUS_INLINED {
    store(z, row, half * padded(H) + column, values);
  });
}

// Calls work(number of rows as a type, first row) for all of `count`.
template <class Work>
DMNPLUS_INLINE void rows_by_eight(int64_t count, const Work& work) {
  int64_t m = 0;
  for (; m + 8 <= count; m += 8) work(number<8>, m);
  for (; m < count; m++) work(number<1>, m);
}

// Up to 32 facts.
template <bool SCORE>
void forward_block_matrix(const Gate& p, int64_t g, const Fact* facts, int64_t count, const float* packed,
                          float* scratch) {
  const int64_t H = p.hidden, K = p.width;
  using Block = ForwardBlock<SCORE, 2 * SIDE>;
  Block block(p, g, facts, count);
  const Split z(scratch, 2 * SIDE, 2 * padded(H));
  float* sums = scratch + Split::floats(2 * SIDE, 2 * padded(H));
  for (int64_t m = 0; m < count; m++) {
    const auto [b, i] = facts[m];
    compare(p.facts + p.facts_strides.at(g, b, i), p.x + p.x_strides.at(g, b, 0), H, z, m);
  }
  multiply_panels(tiles_of(count), z, reinterpret_cast<const char*>(packed), Panels(K, 2 * padded(H)), sums);
  for (int64_t column = 0; column < K; column += W, sums += 2 * SIDE * W) {
    rows_by_eight(count, [&](auto n, int64_t first) DMNPLUS_INLINED {
      constexpr int N = decltype(n)::value;
      V product[N];
      DMNPLUS_EACH product[i] = load(sums + (first + i) * W);
      Block::finish(block, product, first, column, K);
    });
  }
  block.write(p, g, facts, count);
}

#endif

// What `forward_gate` and `backward_gate` ask of whoever multiplies.
struct VectorGate {
  static constexpr int64_t ROWS = BLOCK_ROWS;
  struct Tiles {
    explicit Tiles(int64_t) {}
  };

  static int64_t packed_forward_floats(int64_t K, int64_t H) { return padded(K) * 2 * H; }
  static void pack_forward(const float* weight, int64_t K, int64_t H, float scale, float* packed) {
    pack_transposed(weight, K, 2 * H, scale, packed);
  }
  static int64_t forward_floats(int64_t, int64_t H) { return BLOCK_ROWS * padded(2 * H); }
  template <bool SCORE>
  static void forward(const Gate& p, int64_t g, const Fact* facts, int64_t count, const float* packed,
                      float* scratch) {
    forward_block<SCORE>(p, g, facts, count, packed, scratch);
  }
};

#if defined(DMNPLUS_MATRIX_UNIT)
struct MatrixGate {
  static constexpr int64_t ROWS = 2 * SIDE;
  using Tiles = dmnplus::Tiles;

  static int64_t packed_forward_floats(int64_t K, int64_t H) { return Panels(K, 2 * padded(H)).floats(); }
  static void pack_forward(const float* weight, int64_t K, int64_t H, float scale, float* packed) {
    std::vector<float> memory;
    pack_panels_transposed(halves_apart(weight, K, H, memory), K, 2 * padded(H), scale,
                           reinterpret_cast<char*>(packed));
  }
  static int64_t forward_floats(int64_t K, int64_t H) {
    return Split::floats(2 * SIDE, 2 * padded(H)) + 2 * SIDE * padded(K);
  }
  template <bool SCORE>
  static void forward(const Gate& p, int64_t g, const Fact* facts, int64_t count, const float* packed,
                      float* scratch) {
    forward_block_matrix<SCORE>(p, g, facts, count, packed, scratch);
  }
};
#endif

template <bool SCORE, class Unit>
void forward_gate(const Gate& p) {
  const int64_t H = p.hidden, K = p.width, packed_size = Unit::packed_forward_floats(K, H);
  static thread_local Scratch packed_memory;
  float* packed = packed_memory.floats(p.groups * packed_size);
  std::vector<RealFacts> real(p.groups);
  const int64_t threads = useful_threads(p, 1);
  for_each(threads, p.groups, [&](int64_t g) {
    real[g].find(p, g);
    Unit::pack_forward(p.weight + g * K * 2 * H, K, H, SCORE ? TANH : 1.0f, packed + g * packed_size);
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
    float* scratch = memory.floats(Unit::forward_floats(K, H));
    const int64_t start = item % most * TAKEN, end = std::min(count, start + TAKEN);
    const typename Unit::Tiles tiles(SIDE);
    for (int64_t m = start; m < end; m += Unit::ROWS) {
      Unit::template forward<SCORE>(p, g, real[g].facts.data() + m, std::min(Unit::ROWS, end - m),
                                    packed + g * packed_size, scratch);
    }
  });
}

// ---- backward

// What a thread needs for the facts that it collects.
struct GateScratch {
  float *z, *d_half, *d_z;

  static size_t size(int64_t K, int64_t H) {
    return COLLECTED * (padded(2 * H) + padded(K)) + BLOCK_ROWS * padded(2 * H);
  }
  GateScratch(float* memory, int64_t K, int64_t H)
      : z(memory), d_half(z + COLLECTED * padded(2 * H)), d_z(d_half + COLLECTED * padded(K)) {}
};

// Partial gradients of one lane: of w2 or b [P], and of the weight, [K, Z] or as `Outer` has it.
struct GatePartial {
  float *row, *weight;

  GatePartial(float* memory, int64_t K) : row(memory), weight(memory + padded(K)) {}
};

// The gradient of the half of one fact, to put(column, values) and out; adds to that of w2 or b.
template <bool SCORE, class Put>
DMNPLUS_INLINE void backward_half(const Gate& p, int64_t g, Fact fact, float* d_row, const Put& put) {
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
    put(column, d);
    store(d_row + column, load(d_row + column) + d_across);
  });
}

// From the gradients of both halves of z to those of one fact and, added up, of the vector that it is compared with.
// Vectors of the halves are `apart` numbers from each other.
DMNPLUS_INLINE void backward_compare(const float* f, const float* x, const float* d_product, const float* d_difference,
                                     int64_t apart, int64_t H, float* d_f, float* d_x) {
  columns(H, [&](auto tail, int64_t column, int lanes) {
    const V a = load_columns(tail, f + column, lanes), b = load_columns(tail, x + column, lanes);
    const V product = load_columns(tail, d_product + column / W * apart, lanes);
    const V difference = times_sign(load_columns(tail, d_difference + column / W * apart, lanes), a - b);
    store_columns(tail, d_f + column, fma(product, b, difference), lanes);
    store_columns(tail, d_x + column, load_columns(tail, d_x + column, lanes) + (product * a - difference), lanes);
  });
}

// d_z = d_half times the weights, for one block.
void multiply_back(int64_t rows, const float* d_half, const float* packed, int64_t K, int64_t H, float* d_z) {
  const int64_t Z = padded(2 * H);
  const auto finish = [&](auto& product, int64_t first, int64_t column) DMNPLUS_INLINED {
    constexpr int N = std::extent_v<std::remove_reference_t<decltype(product)>>;
    constexpr int VECTORS = std::extent_v<std::remove_reference_t<decltype(product)>, 1>;
    DMNPLUS_EACH {
      DMNPLUS_UNROLL
      for (int v = 0; v < VECTORS; v++) store(d_z + (first + i) * Z + column + v * W, product[i][v]);
    }
  };
  multiply(rows, d_half, padded(K), packed, K, 2 * H, finish);
}

template <bool SCORE>
void backward_collected(const Gate& p, int64_t g, const Fact* facts, int64_t count, const float* packed,
                        const GateScratch& scratch, const GatePartial& partial) {
  const int64_t H = p.hidden, K = p.width, Z = padded(2 * H), P = padded(K);
  for (int64_t start = 0; start < count; start += BLOCK_ROWS) {
    const int64_t rows = std::min(BLOCK_ROWS, count - start);
    float* d_half = scratch.d_half + start * P;
    for (int64_t m = 0; m < rows; m++) {
      const auto put = [&](int64_t column, V d) DMNPLUS_INLINED { store(d_half + m * P + column, d); };
      backward_half<SCORE>(p, g, facts[start + m], partial.row, put);
    }
    multiply_back(rows, d_half, packed, K, H, scratch.d_z);
    for (int64_t m = 0; m < rows; m++) {
      const auto [b, i] = facts[start + m];
      const float* f = p.facts + p.facts_strides.at(g, b, i);
      const float* x = p.x + p.x_strides.at(g, b, 0);
      compare(f, x, H, scratch.z + (start + m) * Z);
      backward_compare(f, x, scratch.d_z + m * Z, scratch.d_z + m * Z + H, W, H, p.grad_facts + p.place(g, b, i) * H,
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

#if defined(DMNPLUS_MATRIX_UNIT)

// As GateScratch.
struct MatrixGateScratch {
  Split z, d_half;
  float *sums, *outer;

  static size_t size(int64_t K, int64_t H) {
    const int64_t P = padded(H);
    return Split::floats(COLLECTED, 2 * P) + Split::floats(COLLECTED, K) + 2 * SIDE * 2 * P +
           weights(K, H).scratch_floats(COLLECTED);
  }
  static Outer weights(int64_t K, int64_t H) { return {K, 2 * padded(H)}; }
  MatrixGateScratch(float* memory, int64_t K, int64_t H)
      : z(memory, COLLECTED, 2 * padded(H)), d_half(memory + Split::floats(COLLECTED, 2 * padded(H)), COLLECTED, K) {
    sums = memory + Split::floats(COLLECTED, 2 * padded(H)) + Split::floats(COLLECTED, K);
    outer = sums + 2 * SIDE * 2 * padded(H);
  }
};

template <bool SCORE>
void backward_collected_matrix(const Gate& p, int64_t g, const Fact* facts, int64_t count, const float* packed,
                               const MatrixGateScratch& scratch, const GatePartial& partial) {
  const int64_t H = p.hidden, K = p.width, P = padded(H);
  const Panels panels(2 * P, K);
  for (int64_t start = 0; start < count; start += 2 * SIDE) {
    const int64_t rows = std::min(2 * SIDE, count - start);
    for (int64_t m = start; m < start + rows; m++) {
      const auto put = [&](int64_t column, V d) DMNPLUS_INLINED { store(scratch.d_half, m, column, d); };
      backward_half<SCORE>(p, g, facts[m], partial.row, put);
      for (int64_t column = padded(K); column < scratch.d_half.stride; column += W) put(column, zero());
    }
    multiply_panels(tiles_of(rows), scratch.d_half.from(start), reinterpret_cast<const char*>(packed), panels,
                    scratch.sums);
    for (int64_t m = 0; m < rows; m++) {
      const auto [b, i] = facts[start + m];
      const float* f = p.facts + p.facts_strides.at(g, b, i);
      const float* x = p.x + p.x_strides.at(g, b, 0);
      compare(f, x, H, scratch.z, start + m);
      backward_compare(f, x, scratch.sums + m * W, scratch.sums + (2 * P + m) * W, 2 * SIDE * W, H,
                       p.grad_facts + p.place(g, b, i) * H, p.grad_x + (g * p.batch + b) * H);
    }
  }
  MatrixGateScratch::weights(K, H).add(scratch.d_half, scratch.z, count, scratch.outer, partial.weight);
}

#endif

// As the units of the forward pass.
struct VectorGateBackward {
  using Tiles = VectorGate::Tiles;

  static int64_t packed_floats(int64_t K, int64_t H) { return K * padded(2 * H); }
  static void pack(const float* weight, int64_t K, int64_t H, float* packed) {
    pack_straight(weight, K, 2 * H, packed);
  }
  static int64_t scratch_floats(int64_t K, int64_t H) { return GateScratch::size(K, H); }
  template <bool SCORE>
  static void backward(const Gate& p, int64_t g, const Fact* facts, int64_t count, const float* packed, float* scratch,
                       const GatePartial& partial) {
    backward_collected<SCORE>(p, g, facts, count, packed, {scratch, p.width, p.hidden}, partial);
  }
  // Of the weight gradient of one lane, and where its rows lie.
  static int64_t partial_floats(int64_t K, int64_t H) { return K * padded(2 * H); }
  static float at(const float* weight, int64_t k, int64_t column, int64_t, int64_t H) {
    return weight[k * padded(2 * H) + column];
  }
};

#if defined(DMNPLUS_MATRIX_UNIT)
struct MatrixGateBackward {
  using Tiles = dmnplus::Tiles;

  static int64_t packed_floats(int64_t K, int64_t H) { return Panels(2 * padded(H), K).floats(); }
  static void pack(const float* weight, int64_t K, int64_t H, float* packed) {
    std::vector<float> memory;
    pack_panels_straight(halves_apart(weight, K, H, memory), 2 * padded(H), K, reinterpret_cast<char*>(packed));
  }
  static int64_t scratch_floats(int64_t K, int64_t H) { return MatrixGateScratch::size(K, H); }
  template <bool SCORE>
  static void backward(const Gate& p, int64_t g, const Fact* facts, int64_t count, const float* packed, float* scratch,
                       const GatePartial& partial) {
    backward_collected_matrix<SCORE>(p, g, facts, count, packed, {scratch, p.width, p.hidden}, partial);
  }
  static int64_t partial_floats(int64_t K, int64_t H) { return MatrixGateScratch::weights(K, H).floats(); }
  static float at(const float* weight, int64_t k, int64_t column, int64_t K, int64_t H) {
    return MatrixGateScratch::weights(K, H).at(weight, k, column < H ? column : padded(H) + column - H);
  }
};
#endif

template <bool SCORE, class Unit>
void backward_lane(const Gate& p, int64_t g, int64_t lane, int64_t lanes, const RealFacts& real, const float* packed,
                   float* scratch, const GatePartial& partial) {
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
    Unit::template backward<SCORE>(p, g, real.facts.data() + m, count, packed, scratch, partial);
  }
}

template <bool SCORE, class Unit>
void backward_gate(const Gate& p) {
  const int64_t H = p.hidden, K = p.width, P = padded(K);
  const int64_t lanes = lanes_of(p), packed_size = Unit::packed_floats(K, H);
  const int64_t partial_size = P + Unit::partial_floats(K, H);
  static thread_local Scratch packed_memory, partial_memory;
  float* packed = packed_memory.floats(p.groups * packed_size);
  float* partials = partial_memory.floats(p.groups * lanes * partial_size);
  std::vector<RealFacts> real(p.groups);
  const int64_t threads = useful_threads(p, 2);
  for_each(threads, p.groups, [&](int64_t g) {
    real[g].find(p, g);
    Unit::pack(p.weight + g * K * 2 * H, K, H, packed + g * packed_size);
  });
  for_each(threads, p.groups * lanes, [&](int64_t item) {
    const int64_t g = item / lanes, lane = item % lanes;
    static thread_local Scratch memory;
    float* scratch = memory.floats(Unit::scratch_floats(K, H));
    float* partial = partials + item * partial_size;
    std::memset(partial, 0, partial_size * sizeof(float));
    const typename Unit::Tiles tiles(SIDE);
    backward_lane<SCORE, Unit>(p, g, lane, lanes, real[g], packed + g * packed_size, scratch, {partial, K});
  });
  add_lanes(threads, p.groups, lanes, partial_size, partials);
  for_each(threads, p.groups, [&](int64_t g) {
    const GatePartial total(partials + g * lanes * partial_size, K);
    // Without a batch element there is no lane.
    for (int64_t k = 0; k < K; k++) {
      float* to = p.grad_weight + (g * K + k) * 2 * H;
      p.grad_row[g * K + k] = lanes > 0 ? total.row[k] : 0.0f;
      for (int64_t l = 0; l < 2 * H; l++) to[l] = lanes > 0 ? Unit::at(total.weight, k, l, K, H) : 0.0f;
    }
  });
}

template <bool SCORE>
void forward_gate(const Gate& p) {
#if defined(DMNPLUS_MATRIX_UNIT)
  if (matrix_unit()) return forward_gate<SCORE, MatrixGate>(p);
#endif
  forward_gate<SCORE, VectorGate>(p);
}

template <bool SCORE>
void backward_gate(const Gate& p) {
#if defined(DMNPLUS_MATRIX_UNIT)
  if (matrix_unit()) return backward_gate<SCORE, MatrixGateBackward>(p);
#endif
  backward_gate<SCORE, VectorGateBackward>(p);
}

template <void (*RUN)(const Gate&)>
int call(const void* fields) {
  return guarded<Gate>(fields, sizeof(Gate), RUN);
}

}  // namespace
}  // namespace dmnplus

// The second argument is there because all functions of the library have it.
extern "C" int dmnplus_attention_gate_forward(const void* fields, const uint8_t*) {
  return dmnplus::call<dmnplus::forward_gate<true>>(fields);
}

extern "C" int dmnplus_attention_gate_backward(const void* fields, const uint8_t*) {
  return dmnplus::call<dmnplus::backward_gate<true>>(fields);
}

extern "C" int dmnplus_attention_gate_half_forward(const void* fields, const uint8_t*) {
  return dmnplus::call<dmnplus::forward_gate<false>>(fields);
}

extern "C" int dmnplus_attention_gate_half_backward(const void* fields, const uint8_t*) {
  return dmnplus::call<dmnplus::backward_gate<false>>(fields);
}
