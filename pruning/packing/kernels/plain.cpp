// For any processor.
#include "plain.h"

namespace espalier {
const Kernels* plain_kernels() {
  static const Kernels kernels{"plain", false, false, 1, multiply, multiply};
  return &kernels;
}
}  // namespace espalier
