#include "scan.hpp"

extern "C" int dmnplus_gru_forward(const void* fields, const uint8_t* reverse) {
  return dmnplus::guarded(fields, reverse, [](const dmnplus::Problem& p) { dmnplus::forward<false>(p); });
}

extern "C" int dmnplus_gru_backward(const void* fields, const uint8_t* reverse) {
  return dmnplus::guarded(fields, reverse, [](const dmnplus::Problem& p) { dmnplus::backward<false>(p); });
}
