// All passes of the episodic memory in one call, for inference.
//
// g = softmax of the gate's scores over the real facts, c = the attention GRU's context, m' = relu(W [m; c; q] + b)
//
// Scores and contexts come from the two kernels that training has; they read and write the buffers named below, pass
// after pass. What a row gives does not depend on the rows beside it, on masked facts, nor on the number of threads.
#include <cmath>

#include "scan.hpp"

extern "C" int dmnplus_attention_gate_forward(const void* fields, const uint8_t*);
extern "C" int dmnplus_attention_gru_forward(const void* fields, const uint8_t*);

namespace dmnplus {
namespace {

// Rows that share a load of the update's weights.
constexpr int TOGETHER = 4;
// Rows that a thread takes at a time.
constexpr int64_t TAKEN = 16;

// Filled by Python: every field has eight bytes. What has no strides is contiguous.
struct Episodes {
  int64_t groups, batch, steps, hidden, threads, passes;
  const uint8_t* mask;
  Strides mask_strides;
  // q of the updates [G, B, H].
  const float* question;
  // In: the first memory; out: the last one. [G, B, H]; the gate compares facts with it.
  float* memory;
  // [G, B, H], what the attention GRU gives.
  float* context;
  // [G, B, F], where the gate puts its scores and the attention GRU finds the attention.
  float* gate;
  // [passes, G, B, F], out.
  float* attention;
  // Bytes from the first field to those of the gate and the attention GRU, and to a pointer to W [G H, 3 H] and one
  // to b [G H] for each pass.
  int64_t gate_fields, scan_fields, weights;
};

void softmax(const Episodes& p, int64_t g, int64_t b) {
  float* row = p.gate + (g * p.batch + b) * p.steps;
  const auto real = [&](int64_t i) { return p.mask[p.mask_strides.at(g, b, i)] != 0; };
  float highest = -INFINITY;
  for (int64_t i = 0; i < p.steps; i++)
    if (real(i)) highest = std::max(highest, row[i]);
  double total = 0;
  for (int64_t i = 0; i < p.steps; i++) total += row[i] = real(i) ? std::exp(row[i] - highest) : 0.0f;
  const float share = static_cast<float>(1 / total);
  // A row without a fact has nothing to share out.
  for (int64_t i = 0; i < p.steps; i++) row[i] = real(i) ? row[i] * share : 0.0f;
}

// The new memory of ROWS rows from [m; c; q], whose parts lie `rows` times H numbers from each other.
template <int ROWS>
void update(const float* weight, const float* bias, const float* const (&parts)[3], int64_t H, float* memory) {
  for (int64_t h = 0; h < H; h++) {
    V product[ROWS];
    DMNPLUS_UNROLL
    for (int m = 0; m < ROWS; m++) product[m] = zero();
    for (const float* part : parts) {
      int64_t k = 0;
      for (; k + W <= H; k += W) {
        const V w = load(weight + k);
        DMNPLUS_UNROLL
        for (int m = 0; m < ROWS; m++) product[m] = fma(w, load(part + m * H + k), product[m]);
      }
      if (k < H) {
        const int lanes = static_cast<int>(H - k);
        const V w = load_first(weight + k, lanes);
        DMNPLUS_UNROLL
        for (int m = 0; m < ROWS; m++) product[m] = fma(w, load_first(part + m * H + k, lanes), product[m]);
      }
      weight += H;
    }
    DMNPLUS_UNROLL
    for (int m = 0; m < ROWS; m++) memory[m * H + h] = std::max(sum(product[m]) + bias[h], 0.0f);
  }
}

void update_rows(const Episodes& p, int64_t g, int64_t first, int64_t count, const float* weight, const float* bias) {
  const int64_t H = p.hidden;
  weight += g * H * 3 * H;
  bias += g * H;
  static thread_local Scratch scratch;
  float* memory = scratch.floats(TOGETHER * H);
  for (int64_t m = 0; m < count;) {
    const int64_t place = (g * p.batch + first + m) * H, rows = m + TOGETHER <= count ? TOGETHER : 1;
    const float* const parts[3] = {p.memory + place, p.context + place, p.question + place};
    (rows == 1 ? update<1> : update<TOGETHER>)(weight, bias, parts, H, memory);
    // Not before all of the old one has been read.
    std::memcpy(p.memory + place, memory, rows * H * sizeof(float));
    m += rows;
  }
}

int run(const Episodes& p, const char* fields) {
  const auto* weights = reinterpret_cast<const float* const*>(fields + p.weights);
  const int64_t facts = p.groups * p.batch * p.steps, units = (p.batch + TAKEN - 1) / TAKEN;
  const double flops = 6.0 * p.groups * p.batch * p.hidden * p.hidden + 50.0 * facts;
  const int64_t threads = threads_worth(p.threads, flops);
  const auto for_rows = [&](const auto& work) {
    for_each(threads, p.groups * units, [&](int64_t item) {
      const int64_t first = item % units * TAKEN;
      work(item / units, first, std::min(TAKEN, p.batch - first));
    });
  };
  for (int64_t t = 0; t < p.passes; t++) {
    if (dmnplus_attention_gate_forward(fields + p.gate_fields, nullptr) != 0) return 1;
    for_rows([&](int64_t g, int64_t first, int64_t count) {
      for (int64_t b = first; b < first + count; b++) softmax(p, g, b);
    });
    std::memcpy(p.attention + t * facts, p.gate, facts * sizeof(float));
    if (dmnplus_attention_gru_forward(fields + p.scan_fields, nullptr) != 0) return 1;
    for_rows([&](int64_t g, int64_t first, int64_t count) {
      update_rows(p, g, first, count, weights[2 * t], weights[2 * t + 1]);
    });
  }
  return 0;
}

}  // namespace
}  // namespace dmnplus

// The second argument is there because all functions of the library have it. Returns 0, or 1 where memory ran out.
extern "C" int dmnplus_episodes(const void* fields, const uint8_t*) {
  try {
    dmnplus::Episodes p;
    std::memcpy(&p, fields, sizeof p);
    return dmnplus::run(p, static_cast<const char*>(fields));
  } catch (const std::exception&) {
    return 1;
  }
}
