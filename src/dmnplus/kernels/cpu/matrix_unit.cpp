#include "matrix_unit.hpp"

// Whether products go to the processor's matrix unit from now on: true if it has one and `wanted` begins with 1.
extern "C" int dmnplus_matrix_unit(const void* wanted, const uint8_t*) {
  dmnplus::matrix_unit_wanted = *static_cast<const char*>(wanted) == '1';
  return dmnplus::matrix_unit();
}
