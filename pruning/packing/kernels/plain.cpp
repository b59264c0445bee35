// For any processor.
#include "plain.h"

namespace espalier {
const Kernels* plain_kernels() {
  static const Kernels kernels{"plain", false, 1, multiply, multiply, nullptr, nullptr, elementwise};
  return &kernels;
}
}  // namespace espalier
