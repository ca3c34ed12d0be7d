// Products of float32 matrices on the processor's matrix unit (Intel AMX), where it has one.
//
// A number is taken as the sum of two bfloat16, x = hi + lo, which keeps 16 bits of its mantissa, and a product as
// lo hi + hi hi + hi lo, summed in float32: what PyTorch calls the precision "high" and JAX bfloat16_3x. Each row of a
// product is summed in the same order, whatever rows are beside it.
//
// Symbols: a tile is 16 x 16 floats of a result, or 16 x 32 bfloat16 of a factor; K depth of a product, k a step of 32
// of it. Factors lie as `Split`: all hi and all lo, row by row. The second one is packed into tiles, pairs of the
// depth side by side as the unit wants them: [pair of tile columns][k][hi, lo][tile column] (`Panels`).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "vector.hpp"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__) && defined(__x86_64__)
#define DMNPLUS_MATRIX_UNIT 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace dmnplus {

constexpr int64_t SIDE = 16;
constexpr int64_t STEP = 2 * SIDE;
constexpr int64_t TILE_BYTES = 1024;

inline bool matrix_unit_wanted = true;

// Whether products go to the matrix unit: the kernel must have given the process leave to use its registers.
inline bool matrix_unit() {
#if defined(DMNPLUS_MATRIX_UNIT)
  constexpr long REQUEST = 0x1023, TILE_DATA = 18;
  static const bool granted = syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
  return granted && matrix_unit_wanted;
#else
  return false;
#endif
}

inline int64_t steps_of(int64_t depth) { return (depth + STEP - 1) / STEP; }
inline int64_t tiles_of(int64_t columns) { return (columns + SIDE - 1) / SIDE; }

// Where the tiles of a packed second factor lie. Two tile columns are multiplied together.
struct Panels {
  int64_t tiles, k;

  Panels(int64_t columns, int64_t depth) : tiles(tiles_of(columns)), k(steps_of(depth)) {}
  int64_t floats() const { return tiles * k * 2 * TILE_BYTES / 4; }
  int64_t width(int64_t tile) const { return std::min<int64_t>(2, tiles - tile / 2 * 2); }
  // Where the pair of a tile column begins, in bytes.
  int64_t start(int64_t tile) const { return tile / 2 * 2 * k * 2 * TILE_BYTES; }
  // Where the hi of a tile column at step `s` begins; its lo is `low(tile)` after it.
  int64_t at(int64_t tile, int64_t s) const { return start(tile) + (s * 2 * width(tile) + tile % 2) * TILE_BYTES; }
  int64_t low(int64_t tile) const { return width(tile) * TILE_BYTES; }
  // Calls pack(tile column, step, hi, lo) for each.
  template <class Pack>
  void each(char* packed, const Pack& pack) const {
    for (int64_t t = 0; t < tiles; t++) {
      for (int64_t s = 0; s < k; s++) {
        char* const hi = packed + at(t, s);
        pack(t, s, hi, hi + low(t));
      }
    }
  }
};

#if defined(DMNPLUS_MATRIX_UNIT)

// Rows of numbers as two bfloat16 each; a row has whole steps of 32 numbers.
struct Split {
  uint16_t *hi, *lo;
  int64_t stride;

  static int64_t padded(int64_t columns) { return steps_of(columns) * STEP; }
  static int64_t floats(int64_t rows, int64_t columns) { return rows * padded(columns); }
  Split(float* memory, int64_t rows, int64_t columns)
      : hi(reinterpret_cast<uint16_t*>(memory)), lo(hi + rows * padded(columns)), stride(padded(columns)) {}
  Split(uint16_t* hi, uint16_t* lo, int64_t stride) : hi(hi), lo(lo), stride(stride) {}
  Split from(int64_t row) const { return {hi + row * stride, lo + row * stride, stride}; }
  void clear(int64_t rows) const {
    std::memset(hi, 0, rows * stride * sizeof(uint16_t));
    std::memset(lo, 0, rows * stride * sizeof(uint16_t));
  }
};

// 16 numbers as two bfloat16 each.
struct Halves {
  __m256i hi, lo;
};

DMNPLUS_INLINE Halves split(V a) {
  const __m256i hi = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a));
  const V rest = a - _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(hi), 16));
  return {hi, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(rest))};
}

DMNPLUS_INLINE void store(const Split& to, int64_t row, int64_t column, V a) {
  const Halves halves = split(a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to.hi + row * to.stride + column), halves.hi);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to.lo + row * to.stride + column), halves.lo);
}

// All columns of a row, the padding as zeros.
DMNPLUS_INLINE void store_row(const Split& to, int64_t row, const float* from, int64_t columns) {
  int64_t c = 0;
  for (; c + W <= columns; c += W) store(to, row, c, load(from + c));
  if (c < columns) store(to, row, c, load_first(from + c, static_cast<int>(columns - c))), c += W;
  for (; c < to.stride; c += W) store(to, row, c, zero());
}

// A unit of work that multiplies: its thread has the tiles 0 to 3 for sums and 4 and 5 for the first factor, of `rows`
// rows, and 6 and 7, of 16, for the second.
class Tiles {
 public:
  explicit Tiles(int64_t rows) {
    struct alignas(64) {
      uint8_t palette, start_row, reserved[14];
      uint16_t bytes[16];
      uint8_t rows[16];
    } shape = {};
    shape.palette = 1;
    for (int i = 0; i < 8; i++) shape.bytes[i] = 64, shape.rows[i] = static_cast<uint8_t>(i < 6 ? rows : 16);
    asm volatile("ldtilecfg %0" : : "m"(shape));
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  ~Tiles() { asm volatile("tilerelease"); }
};

template <int T>
DMNPLUS_INLINE void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(T));
}
template <int T>
DMNPLUS_INLINE void tile_load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
DMNPLUS_INLINE void tile_store(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(T) : "memory");
}
template <int SUM, int A, int B>
DMNPLUS_INLINE void tile_multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(SUM), "i"(A), "i"(B));
}

template <int N>
constexpr std::integral_constant<int, N> number{};

// Calls work with 0, 1, ... COUNT - 1 as types.
template <int COUNT, class Work>
DMNPLUS_INLINE void each(const Work& work) {
  if constexpr (COUNT > 0) {
    each<COUNT - 1>(work);
    work(number<COUNT - 1>);
  }
}

// How far tiles are from each other, in numbers: those of rows, and their steps of the depth; those of sums by row and
// by column.
struct Apart {
  int64_t rows, steps, sum_rows, sum_columns;
};

// Sums of ROWS x COLUMNS tiles: those at `start`, or zeros, plus the product of rows with packed columns.
template <int ROWS, int COLUMNS>
DMNPLUS_INLINE void multiply_tiles(const Split& rows, const char* packed, int64_t k, const float* start, float* sums,
                                   const Apart& apart) {
  const auto for_sums = [&](const auto& work) DMNPLUS_INLINED {
    each<ROWS>([&](auto r) DMNPLUS_INLINED {
      each<COLUMNS>([&](auto c) DMNPLUS_INLINED { work(r, c); });
    });
  };
  const auto first = [&](const uint16_t* half) DMNPLUS_INLINED {
    each<ROWS>([&](auto r) DMNPLUS_INLINED { tile_load<4 + r>(half + r * apart.rows, rows.stride * 2); });
  };
  const auto second = [&](int half) DMNPLUS_INLINED {
    each<COLUMNS>([&](auto c) DMNPLUS_INLINED { tile_load<6 + c>(packed + (half * COLUMNS + c) * TILE_BYTES, 64); });
  };
  const auto multiply = [&] {
    for_sums([&](auto r, auto c) DMNPLUS_INLINED { tile_multiply<2 * r + c, 4 + r, 6 + c>(); });
  };
  for_sums([&](auto r, auto c) DMNPLUS_INLINED {
    if (start == nullptr) {
      tile_zero<2 * r + c>();
    } else {
      tile_load<2 * r + c>(start + r * apart.sum_rows + c * apart.sum_columns, 64);
    }
  });
  for (int64_t s = 0; s < k; s++, packed += 2 * COLUMNS * TILE_BYTES) {
    second(0);
    first(rows.lo + s * apart.steps);
    multiply();
    first(rows.hi + s * apart.steps);
    multiply();
    second(1);
    multiply();
  }
  for_sums([&](auto r, auto c) DMNPLUS_INLINED {
    tile_store<2 * r + c>(sums + r * apart.sum_rows + c * apart.sum_columns, 64);
  });
}

// The same for numbers of tiles that are known at run time.
inline void multiply_tiles(int64_t row_tiles, int64_t columns, const Split& rows, const char* packed, int64_t k,
                           const float* start, float* sums, const Apart& apart) {
  const auto run = row_tiles == 1 ? (columns == 1 ? multiply_tiles<1, 1> : multiply_tiles<1, 2>)
                                  : (columns == 1 ? multiply_tiles<2, 1> : multiply_tiles<2, 2>);
  run(rows, packed, k, start, sums, apart);
}

// Rows times all panels: up to two tiles of rows, whose sums lie [tile column][32][16].
inline void multiply_panels(int64_t row_tiles, const Split& rows, const char* packed, const Panels& panels,
                            float* sums) {
  for (int64_t t = 0; t < panels.tiles; t += 2) {
    multiply_tiles(row_tiles, panels.width(t), rows, packed + panels.start(t), panels.k, nullptr, sums + t * 512,
                   {SIDE * rows.stride, STEP, 256, 512});
  }
}

// ---- packing

// Pairs of bfloat16, a and b side by side in each lane of 32 bits.
DMNPLUS_INLINE __m512i pairs(__m256i a, __m256i b) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

// r[i][j] becomes r[j][i], of 16 x 16 pairs.
DMNPLUS_INLINE void transpose_pairs(__m512i (&r)[16]) {
  __m512i t[16];
  DMNPLUS_UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  DMNPLUS_UNROLL for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  DMNPLUS_UNROLL for (int c = 0; c < 4; c++) {
    const __m512i a = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), b = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
    const __m512i e = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    t[c] = _mm512_shuffle_i32x4(a, d, 0x88);
    t[4 + c] = _mm512_shuffle_i32x4(b, e, 0x88);
    t[8 + c] = _mm512_shuffle_i32x4(a, d, 0xdd);
    t[12 + c] = _mm512_shuffle_i32x4(b, e, 0xdd);
  }
  DMNPLUS_UNROLL for (int i = 0; i < 16; i++) r[i] = t[i];
}

DMNPLUS_INLINE void store_tile(char* to, const __m512i (&rows)[16]) {
  DMNPLUS_UNROLL for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + i * 64, rows[i]);
}

// One tile of the second factor from weights [column][depth], whose products with rows are those of `linear`.
inline void pack_tile_transposed(const float* weight, int64_t stride, int64_t columns, int64_t depth, float scale,
                                 char* hi, char* lo) {
  __m512i high[16], low[16];
  for (int i = 0; i < 16; i++) {
    V a = zero(), b = zero();
    if (i < columns) {
      const float* row = weight + i * stride;
      a = load_first(row, static_cast<int>(std::min<int64_t>(W, depth))) * set1(scale);
      if (depth > W) b = load_first(row + W, static_cast<int>(std::min<int64_t>(W, depth - W))) * set1(scale);
    }
    const Halves first = split(a), second = split(b);
    high[i] = _mm512_inserti64x4(_mm512_castsi256_si512(first.hi), second.hi, 1);
    low[i] = _mm512_inserti64x4(_mm512_castsi256_si512(first.lo), second.lo, 1);
  }
  transpose_pairs(high);
  transpose_pairs(low);
  store_tile(hi, high);
  store_tile(lo, low);
}

// One tile of the second factor from weights [depth][column].
inline void pack_tile_straight(const float* weight, int64_t stride, int64_t columns, int64_t depth, char* hi,
                               char* lo) {
  const int lanes = static_cast<int>(std::min<int64_t>(W, columns));
  for (int64_t i = 0; i < 16; i++) {
    const V a = 2 * i < depth ? load_first(weight + 2 * i * stride, lanes) : zero();
    const V b = 2 * i + 1 < depth ? load_first(weight + (2 * i + 1) * stride, lanes) : zero();
    const Halves first = split(a), second = split(b);
    _mm512_storeu_si512(hi + i * 64, pairs(first.hi, second.hi));
    _mm512_storeu_si512(lo + i * 64, pairs(first.lo, second.lo));
  }
}

// The panels of weights [columns][depth], so that rows [., depth] times them are [., columns].
inline void pack_panels_transposed(const float* weight, int64_t columns, int64_t depth, float scale, char* packed) {
  Panels(columns, depth).each(packed, [&](int64_t t, int64_t s, char* hi, char* lo) {
    pack_tile_transposed(weight + t * SIDE * depth + s * STEP, depth, columns - t * SIDE, depth - s * STEP, scale, hi,
                         lo);
  });
}

// The panels of weights [depth][columns].
inline void pack_panels_straight(const float* weight, int64_t columns, int64_t depth, char* packed) {
  Panels(columns, depth).each(packed, [&](int64_t t, int64_t s, char* hi, char* lo) {
    pack_tile_straight(weight + s * STEP * columns + t * SIDE, columns, columns - t * SIDE, depth - s * STEP, hi, lo);
  });
}

// ---- sums over rows

// The gradient of a weight matrix as it is summed up: tiles [tiles of `a`][tiles of `b`][16][16] of a' b.
struct Outer {
  int64_t a_tiles, b_tiles;

  Outer(int64_t a_columns, int64_t b_columns) : a_tiles(tiles_of(a_columns)), b_tiles(tiles_of(b_columns)) {}
  int64_t floats() const { return a_tiles * b_tiles * 256; }
  // Of both factors, packed.
  int64_t scratch_floats(int64_t depth) const {
    return (a_tiles + b_tiles) * steps_of(depth) * 2 * TILE_BYTES / 4;
  }
  float at(const float* sums, int64_t i, int64_t j) const {
    return sums[((i / SIDE * b_tiles + j / SIDE) * SIDE + i % SIDE) * SIDE + j % SIDE];
  }

  // sums += a' b over the first `depth` rows of both, by a thread with tiles of 16 rows; rows up to a multiple of 32
  // are made zero.
  void add(const Split& a, const Split& b, int64_t depth, float* scratch, float* sums) const {
    if (depth == 0) return;
    const int64_t k = steps_of(depth), rest = k * STEP - depth;
    a.from(depth).clear(rest);
    b.from(depth).clear(rest);
    char* const a_packed = reinterpret_cast<char*>(scratch);
    char* const b_packed = a_packed + a_tiles * k * 2 * TILE_BYTES;
    // a' [tile][k][hi, lo]: rows of a tile are columns of a.
    const auto pack = [&](const uint16_t* from, int64_t stride, bool transposed, char* to) {
      __m512i rows[16];
      for (int i = 0; i < 16; i++) {
        const uint16_t* row = from + 2 * i * stride;
        rows[i] = pairs(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)),
                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + stride)));
      }
      if (transposed) transpose_pairs(rows);
      store_tile(to, rows);
    };
    for (int64_t t = 0; t < a_tiles; t++) {
      for (int64_t s = 0; s < k; s++) {
        char* to = a_packed + (t * k + s) * 2 * TILE_BYTES;
        pack(a.hi + s * STEP * a.stride + t * SIDE, a.stride, true, to);
        pack(a.lo + s * STEP * a.stride + t * SIDE, a.stride, true, to + TILE_BYTES);
      }
    }
    const Panels panels(b_tiles * SIDE, k * STEP);
    panels.each(b_packed, [&](int64_t t, int64_t s, char* hi, char* lo) {
      pack(b.hi + s * STEP * b.stride + t * SIDE, b.stride, false, hi);
      pack(b.lo + s * STEP * b.stride + t * SIDE, b.stride, false, lo);
    });
    for (int64_t column = 0; column < b_tiles; column += 2) {
      for (int64_t t = 0; t < a_tiles; t += 2) {
        uint16_t* hi = reinterpret_cast<uint16_t*>(a_packed + t * k * 2 * TILE_BYTES);
        // The lo of a step lies a tile after its hi.
        const Split rows(hi, hi + TILE_BYTES / 2, STEP);
        float* to = sums + (t * b_tiles + column) * 256;
        multiply_tiles(std::min<int64_t>(2, a_tiles - t), panels.width(column), rows,
                       b_packed + panels.start(column), k, to, to,
                       {k * TILE_BYTES, TILE_BYTES, b_tiles * 256, 256});
      }
    }
  }
};

#endif

}  // namespace dmnplus
