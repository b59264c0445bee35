// For x86 processors with AVX2, FMA and F16C.
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,popcnt,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c,popcnt,bmi,bmi2")
#endif
#define ESPALIER_AVX2
#include "plain.h"

namespace espalier {
const Kernels* avx2_kernels() {
  static const Kernels kernels{"avx2", false, 1, multiply, multiply, nullptr, nullptr, elementwise};
  return &kernels;
}
}  // namespace espalier
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "matrix.h"

namespace espalier {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace espalier
#endif
