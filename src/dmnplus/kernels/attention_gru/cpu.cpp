#include "scan.hpp"

extern "C" int dmnplus_attention_gru_forward(const void* fields, const uint8_t* reverse) {
  return dmnplus::guarded(fields, reverse, [](const dmnplus::Problem& p) { dmnplus::forward<true>(p); });
}

extern "C" int dmnplus_attention_gru_backward(const void* fields, const uint8_t* reverse) {
  return dmnplus::guarded(fields, reverse, [](const dmnplus::Problem& p) { dmnplus::backward<true>(p); });
}
