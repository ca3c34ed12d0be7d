#include "scan.hpp"

extern "C" int dmnplus_gru_forward(const void* fields, const uint8_t* reverse) {
  return dmnplus::guarded(fields, reverse, [](const dmnplus::Problem& p) { dmnplus::forward<false>(p); });
}

extern "C" int dmnplus_gru_backward(const void* fields, const uint8_t* reverse) {
  return dmnplus::guarded(fields, reverse, [](const dmnplus::Problem& p) { dmnplus::backward<false>(p); });
}

// Whether products go to the processor's matrix unit from now on: true if it has one and `wanted` begins with 1.
extern "C" int dmnplus_matrix_unit(const void* wanted, const uint8_t*) {
  dmnplus::matrix_unit_wanted = *static_cast<const char*>(wanted) == '1';
  return dmnplus::matrix_unit();
}
