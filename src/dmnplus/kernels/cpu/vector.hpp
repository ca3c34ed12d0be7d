// One vector of floats, as wide as the machine that compiles this: 16 (AVX-512), 8 (AVX2) or 4 (anything else).
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#include <immintrin.h>
#endif

namespace dmnplus {

#define DMNPLUS_UNROLL _Pragma("GCC unroll 16")
#define DMNPLUS_INLINE static inline __attribute__((always_inline))
// For lambdas: a product that a call could reach would leave the registers.
#define DMNPLUS_INLINED __attribute__((always_inline))

#if defined(__AVX512F__)

constexpr int W = 16;
using V = __m512;
// Rows of a register tile: ROWS_n rows x n vectors fit the 32 registers. A scan has units of 16 rows, two such tiles.
constexpr int ROWS_3 = 8, ROWS_2 = 12, ROWS_SCAN = 8;

DMNPLUS_INLINE V set1(float a) { return _mm512_set1_ps(a); }
DMNPLUS_INLINE V load(const float* p) { return _mm512_loadu_ps(p); }
DMNPLUS_INLINE void store(float* p, V a) { _mm512_storeu_ps(p, a); }
DMNPLUS_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
DMNPLUS_INLINE V load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
DMNPLUS_INLINE void store_first(float* p, V a, int n) { _mm512_mask_storeu_ps(p, first(n), a); }
DMNPLUS_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
DMNPLUS_INLINE V fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
// The constant comes first: where one operand is NaN these return the second.
DMNPLUS_INLINE V clamp(V low, V high, V a) { return _mm512_min_ps(high, _mm512_max_ps(low, a)); }
DMNPLUS_INLINE V power_of_two(V biased) {
  const __m512i bits = _mm512_slli_epi32(_mm512_castps_si512(biased), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_set1_epi32(0x3f800000)));
}

#elif defined(__AVX2__) && defined(__FMA__)

constexpr int W = 8;
using V = __m256;
// Rows of a register tile: ROWS_n rows x n vectors are 12 of the 16 registers; ROWS_SCAN is ROWS_2 of a scan's units.
constexpr int ROWS_3 = 4, ROWS_2 = 6, ROWS_SCAN = 6;

DMNPLUS_INLINE V set1(float a) { return _mm256_set1_ps(a); }
DMNPLUS_INLINE V load(const float* p) { return _mm256_loadu_ps(p); }
DMNPLUS_INLINE void store(float* p, V a) { _mm256_storeu_ps(p, a); }
DMNPLUS_INLINE __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
DMNPLUS_INLINE V load_first(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
DMNPLUS_INLINE void store_first(float* p, V a, int n) { _mm256_maskstore_ps(p, first(n), a); }
DMNPLUS_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
DMNPLUS_INLINE V fnma(V a, V b, V c) { return _mm256_fnmadd_ps(a, b, c); }
DMNPLUS_INLINE V clamp(V low, V high, V a) { return _mm256_min_ps(high, _mm256_max_ps(low, a)); }
DMNPLUS_INLINE V power_of_two(V biased) {
  const __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(biased), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(0x3f800000)));
}

#else

constexpr int W = 4;
typedef float V __attribute__((vector_size(16)));
typedef int32_t VI __attribute__((vector_size(16)));
constexpr int ROWS_3 = 4, ROWS_2 = 6, ROWS_SCAN = 6;

DMNPLUS_INLINE V set1(float a) { return V{a, a, a, a}; }
DMNPLUS_INLINE V load(const float* p) {
  V a;
  std::memcpy(&a, p, sizeof a);
  return a;
}
DMNPLUS_INLINE void store(float* p, V a) { std::memcpy(p, &a, sizeof a); }
DMNPLUS_INLINE V load_first(const float* p, int n) {
  V a = {};
  for (int i = 0; i < n; i++) a[i] = p[i];
  return a;
}
DMNPLUS_INLINE void store_first(float* p, V a, int n) {
  for (int i = 0; i < n; i++) p[i] = a[i];
}
DMNPLUS_INLINE V fma(V a, V b, V c) {
#if defined(__FP_FAST_FMAF) || defined(__aarch64__)
  for (int i = 0; i < W; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
#else
  return a * b + c;
#endif
}
DMNPLUS_INLINE V fnma(V a, V b, V c) { return fma(-a, b, c); }
DMNPLUS_INLINE V clamp(V low, V high, V a) {
  a = a < low ? low : a;
  return a > high ? high : a;
}
DMNPLUS_INLINE V power_of_two(V biased) { return (V)(((VI)biased << 23) + 0x3f800000); }

#endif

// Without this GCC loads a vector of weights again for each row that it is multiplied with.
DMNPLUS_INLINE void hold(V& a) {
#if defined(__AVX512F__) || defined(__AVX2__)
  asm("" : "+v"(a));
#else
  (void)a;
#endif
}

// What comes before stays before.
DMNPLUS_INLINE void pin(V& a) {
#if defined(__AVX512F__) || defined(__AVX2__)
  asm volatile("" : "+v"(a));
#else
  (void)a;
#endif
}

DMNPLUS_INLINE V zero() { return set1(0.0f); }

// 1 / a to the last bit or so, for magnitudes within 2^+-100: a division takes several times as long.
DMNPLUS_INLINE V inverse(V a) {
#if defined(__AVX512F__)
  const V guess = _mm512_rcp14_ps(a);
  return fma(guess, fnma(guess, a, set1(1.0f)), guess);
#else
  return set1(1.0f) / a;
#endif
}

template <bool TAIL>
DMNPLUS_INLINE V load_part(const float* p, int n) {
  if constexpr (TAIL) return load_first(p, n);
  return load(p);
}

template <bool TAIL>
DMNPLUS_INLINE void store_part(float* p, V a, int n) {
  if constexpr (TAIL) {
    store_first(p, a, n);
  } else {
    store(p, a);
  }
}

DMNPLUS_INLINE float sum(V a) {
  float lanes[W];
  store(lanes, a);
  // A tree, so that the order is the same whatever the compiler makes of it.
  for (int n = W / 2; n > 0; n /= 2)
    for (int i = 0; i < n; i++) lanes[i] += lanes[i + n];
  return lanes[0];
}

// to[k][l] = scale * from[l][k] for one BLOCK x BLOCK block.
#if defined(__AVX2__)
constexpr int BLOCK = 8;

DMNPLUS_INLINE void transpose(const float* from, int64_t from_stride, float scale, float* to, int64_t to_stride) {
  __m256 a[8], b[8];
  DMNPLUS_UNROLL for (int i = 0; i < 8; i++) {
    a[i] = _mm256_mul_ps(_mm256_loadu_ps(from + i * from_stride), _mm256_set1_ps(scale));
  }
  DMNPLUS_UNROLL for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
  DMNPLUS_UNROLL for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
    a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
    a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
    a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
  }
  DMNPLUS_UNROLL for (int i = 0; i < 4; i++) {
    _mm256_storeu_ps(to + i * to_stride, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
    _mm256_storeu_ps(to + (i + 4) * to_stride, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
  }
}
#else
constexpr int BLOCK = 4;

DMNPLUS_INLINE void transpose(const float* from, int64_t from_stride, float scale, float* to, int64_t to_stride) {
  for (int k = 0; k < BLOCK; k++)
    for (int l = 0; l < BLOCK; l++) to[k * to_stride + l] = scale * from[l * from_stride + k];
}
#endif

// The functions below work on N vectors in step, so that the processor has N chains of operations to overlap.
#define DMNPLUS_EACH DMNPLUS_UNROLL for (int i = 0; i < N; i++)

// 2^t = scale * (1 + p), with t cut to +-40; p is a minimax polynomial on [-1/2, 1/2] with a relative error below 5e-7.
template <int N>
struct Exp2 {
  V scale[N], p[N];
};

template <int N>
DMNPLUS_INLINE void exp2(const V (&t)[N], Exp2<N>& e) {
  V biased[N], f[N], square[N], low[N], high[N];
  // Adding 1.5 * 2^23 leaves the rounded integer in the low bits.
  DMNPLUS_EACH f[i] = clamp(set1(-40.0f), set1(40.0f), t[i]);
  DMNPLUS_EACH biased[i] = f[i] + set1(12582912.0f);
  DMNPLUS_EACH f[i] = f[i] - (biased[i] - set1(12582912.0f));
  DMNPLUS_EACH square[i] = f[i] * f[i];
  DMNPLUS_EACH low[i] = fma(f[i], set1(2.4022351e-1f), set1(6.931471e-1f));
  DMNPLUS_EACH high[i] = fma(f[i], set1(9.666245e-3f), set1(5.5505004e-2f));
  DMNPLUS_EACH high[i] = fma(square[i], set1(1.3333538e-3f), high[i]);
  DMNPLUS_EACH low[i] = fma(square[i], high[i], low[i]);
  DMNPLUS_EACH e.p[i] = low[i] * f[i];
  DMNPLUS_EACH e.scale[i] = power_of_two(biased[i]);
}

// The callers fold these factors into the recurrent weights: exp(-a) = 2^(SIGMOID * a), exp(-2a) = 2^(TANH * a).
constexpr float SIGMOID = -1.4426950408889634f;
constexpr float TANH = -2.8853900817779268f;

// 1 + exp(-a), of which the sigmoid is the inverse; t = SIGMOID * a.
template <int N>
DMNPLUS_INLINE void sigmoid_denominator(const V (&t)[N], V (&denominator)[N]) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  // 2^t = 2^floor(t) * p(t - floor(t)) with a relative error below 2e-7, in fewer instructions than `exp2`.
  constexpr int FLOOR = 9;
  V f[N], p[N];
  DMNPLUS_EACH p[i] = _mm512_min_ps(set1(40.0f), t[i]);
  DMNPLUS_EACH f[i] = _mm512_reduce_ps(p[i], FLOOR);
  DMNPLUS_EACH denominator[i] = fma(f[i], set1(1.8775767e-3f), set1(8.9893406e-3f));
  DMNPLUS_EACH denominator[i] = fma(f[i], denominator[i], set1(5.5826318e-2f));
  DMNPLUS_EACH denominator[i] = fma(f[i], denominator[i], set1(2.4015361e-1f));
  DMNPLUS_EACH denominator[i] = fma(f[i], denominator[i], set1(6.9315308e-1f));
  DMNPLUS_EACH denominator[i] = fma(f[i], denominator[i], set1(9.9999994e-1f));
  DMNPLUS_EACH denominator[i] = _mm512_scalef_ps(denominator[i], p[i]) + set1(1.0f);
#else
  Exp2<N> e;
  exp2(t, e);
  DMNPLUS_EACH denominator[i] = fma(e.scale[i], e.p[i], e.scale[i] + set1(1.0f));
#endif
}

// tanh(a) = numerator / denominator, with the relative accuracy kept near zero; t = TANH * a.
template <int N>
DMNPLUS_INLINE void tanh_ratio(const V (&t)[N], V (&numerator)[N], V (&denominator)[N]) {
  Exp2<N> e;
  exp2(t, e);
  DMNPLUS_EACH numerator[i] = fma(e.scale[i], e.p[i], e.scale[i] - set1(1.0f));
  DMNPLUS_EACH denominator[i] = numerator[i] + set1(2.0f);
  DMNPLUS_EACH numerator[i] = zero() - numerator[i];
}

}  // namespace dmnplus
