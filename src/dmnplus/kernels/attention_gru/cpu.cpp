#include "scan.hpp"

extern "C" int dmnplus_attention_gru_forward(const dmnplus::Problem* p) {
  return dmnplus::guarded([&] { dmnplus::forward<true>(*p); });
}

extern "C" int dmnplus_attention_gru_backward(const dmnplus::Problem* p) {
  return dmnplus::guarded([&] { dmnplus::backward<true>(*p); });
}
