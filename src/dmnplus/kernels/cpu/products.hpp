// Products of rows with packed weights in vector registers, and rows a vector at a time.
//
// Every number of rows multiplies in the same order, so that a row gives the same whatever rows are beside it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "vector.hpp"

namespace dmnplus {

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

// Panels [columns/2W][depth][2W] of weights [columns][depth], scaled; the last panel is W wide where the columns
// take an odd number of vectors.
inline void pack_transposed(const float* weight, int64_t K, int64_t depth, float scale, float* packed) {
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

// Panels [depth/2W][K][2W] of weights [K][depth] as they are, the last one as above.
inline void pack_straight(const float* weight, int64_t K, int64_t depth, float* packed) {
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

}  // namespace dmnplus
