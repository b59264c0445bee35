// A packed matrix as torch holds it, the kernels that this processor uses, and products.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/custom_class.h>

#include "matrix.h"

namespace espalier {

// The kernels in use: the best of this processor, or what `use_kernels` of operators.cpp chose.
const Kernels& kernels_in_use();

// The tensors of a packed layer: `storage.py` says what is in them. They are read anew for each product.
struct PackedMatrix : torch::CustomClassHolder {
  at::Tensor values;
  c10::optional<at::Tensor> masks, starts, scales, bias;
  int64_t rows, columns, group, row_values;

  PackedMatrix(at::Tensor values, c10::optional<at::Tensor> masks, c10::optional<at::Tensor> starts,
               c10::optional<at::Tensor> scales, c10::optional<at::Tensor> bias, int64_t rows, int64_t columns,
               int64_t group, int64_t row_values);
  Matrix view() const;
};
using Packed = c10::intrusive_ptr<PackedMatrix>;

// BF16, FP16, FP32 or INT8. Raises for any other.
Values type_of(const at::Tensor& values);

// y = x W^T + bias for x [..., columns].
at::Tensor linear(const at::Tensor& x, const Packed& matrix);

}  // namespace espalier
