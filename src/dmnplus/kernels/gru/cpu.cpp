#include "scan.hpp"

extern "C" int dmnplus_gru_forward(const dmnplus::Problem* p) {
  return dmnplus::guarded([&] { dmnplus::forward<false>(*p); });
}

extern "C" int dmnplus_gru_backward(const dmnplus::Problem* p) {
  return dmnplus::guarded([&] { dmnplus::backward<false>(*p); });
}
