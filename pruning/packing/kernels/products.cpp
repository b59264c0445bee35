// Products of inputs with a packed matrix, over torch's own threads.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linear.h>

#include <vector>

#include "packed.h"

namespace espalier {
using at::Tensor;
using c10::optional;

PackedMatrix::PackedMatrix(Tensor values, optional<Tensor> masks, optional<Tensor> starts, optional<Tensor> scales,
                           optional<Tensor> bias, int64_t rows, int64_t columns, int64_t group, int64_t row_values)
    : values(values), masks(masks), starts(starts), scales(scales), bias(bias), rows(rows), columns(columns), group(group),
      row_values(row_values) {}

Matrix PackedMatrix::view() const {
  Matrix w{type_of(values), rows, columns, values.const_data_ptr(), nullptr, nullptr, row_values, nullptr, group};
  if (masks) w.masks = reinterpret_cast<const uint64_t*>(masks->const_data_ptr<int64_t>());
  if (starts) w.starts = starts->const_data_ptr<int64_t>();
  if (scales) w.scales = scales->const_data_ptr<float>();
  return w;
}

Values type_of(const Tensor& values) {
  switch (values.scalar_type()) {
    case at::kBFloat16: return BF16;
    case at::kHalf: return FP16;
    case at::kFloat: return FP32;
    case at::kChar: return INT8;
    default: TORCH_CHECK(false, "packed values must be bfloat16, float16, float32 or int8");
  }
}

namespace {

constexpr int64_t BLOCK = 64;                   // rows whose outputs wait as floats until they are stored
constexpr int64_t ROWS_WORTH_A_THREAD = 32768;  // weights below which a second thread costs more than it does
constexpr int64_t TORCH_FROM = 96;              // rows of x from which torch's own product is the faster
constexpr int64_t SLAB_WEIGHTS = 2 << 20;       // weights that are unpacked for it at once

// Memory that belongs to a thread and grows as needed: a fresh allocation would cost page faults every time.
float* scratch(int64_t floats, int which) {
  thread_local std::vector<float> buffers[3];
  auto& buffer = buffers[which];
  if ((int64_t)buffer.size() < floats) buffer.resize(floats);
  return buffer.data();
}

// Rows of x in the forms that the kernels want, padded with zeros to whole words.
struct Prepared {
  Inputs inputs{};
  Tensor kept[3];

  Prepared(const Tensor& x, const Matrix& w, const Kernels& kernels, bool narrow, bool planes) {
    inputs.count = x.size(0);
    inputs.stride = w.words() * WORD;
    if (planes) split(x, kernels);
    else if (narrow) narrow_down(x);
    else inputs.wide = padded(x, at::kFloat).data_ptr<float>();
  }

 private:
  Tensor& padded(const Tensor& x, at::ScalarType type) {
    if (x.scalar_type() == type && x.size(1) == inputs.stride) return kept[0] = x;
    kept[0] = at::empty({inputs.count, inputs.stride}, x.options().dtype(type));
    kept[0].narrow(1, 0, x.size(1)).copy_(x);
    if (x.size(1) < inputs.stride) kept[0].narrow(1, x.size(1), inputs.stride - x.size(1)).zero_();
    return kept[0];
  }

  void narrow_down(const Tensor& x) {
    inputs.narrow = reinterpret_cast<const uint16_t*>(padded(x, at::kBFloat16).data_ptr());
  }

  void split(const Tensor& x, const Kernels& kernels) {
    const float* wide = padded(x, at::kFloat).data_ptr<float>();
    Tensor planes = at::empty({2, inputs.count, inputs.stride}, x.options().dtype(at::kByte));
    Tensor steps = at::empty({inputs.count}, x.options().dtype(at::kFloat));
    uint8_t* high = planes.data_ptr<uint8_t>();
    uint8_t* low = high + inputs.count * inputs.stride;
    for (int64_t m = 0; m < inputs.count; m++) {
      int64_t at = m * inputs.stride;
      kernels.split(wide + at, inputs.stride, high + at, low + at, steps.data_ptr<float>() + m);
    }
    inputs.high = planes.data_ptr<uint8_t>();
    inputs.low = inputs.high + inputs.count * inputs.stride;
    inputs.step = steps.data_ptr<float>();
    kept[1] = planes;
    kept[2] = steps;
  }
};

template <typename T>
void store(const float* y, const float* bias, int64_t count, int64_t begin, int64_t end, int64_t rows, T* out) {
  for (int64_t m = 0; m < count; m++)
    for (int64_t row = begin; row < end; row++) {
      float value = *y++;
      out[m * rows + row] = static_cast<T>(bias ? value + bias[row] : value);
    }
}

void multiply(const Matrix& w, const Tensor& x, const float* bias, Tensor& y) {
  const Kernels& kernels = kernels_in_use();
  bool direct = x.size(0) <= MOST_DIRECT;
  bool planes = kernels.split && w.type == INT8 && direct;
  bool narrow = kernels.narrow && (w.type == BF16 || (w.type == INT8 && x.scalar_type() == at::kBFloat16));
  Prepared prepared(x, w, kernels, narrow, planes);
  int64_t grain = std::max<int64_t>(1, ROWS_WORTH_A_THREAD / std::max<int64_t>(1, w.columns * prepared.inputs.count));
  at::parallel_for(0, w.rows, grain, [&](int64_t first, int64_t last) {
    float* slab = scratch(kernels.slab * prepared.inputs.stride, 0);
    float* waiting = scratch(BLOCK * prepared.inputs.count, 1);
    for (int64_t begin = first; begin < last; begin += BLOCK) {
      int64_t end = std::min(begin + BLOCK, last);
      (direct ? kernels.multiply_few : kernels.multiply_many)(w, prepared.inputs, begin, end, slab, waiting);
      if (y.scalar_type() == at::kBFloat16)
        store(waiting, bias, prepared.inputs.count, begin, end, w.rows, y.data_ptr<at::BFloat16>());
      else if (y.scalar_type() == at::kHalf)
        store(waiting, bias, prepared.inputs.count, begin, end, w.rows, y.data_ptr<at::Half>());
      else
        store(waiting, bias, prepared.inputs.count, begin, end, w.rows, y.data_ptr<float>());
    }
  });
}

// Whether so many rows are better left to torch's own product, with the weights unpacked some at a time.
bool left_to_torch(const Matrix& w, const Tensor& x) {
  bool packed = w.masks || w.type == INT8;
  if (!kernels_in_use().unpack || x.size(0) < (packed ? TORCH_FROM : TORCH_FROM / 2)) return false;
  if (w.type == INT8) return x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kFloat;
  return x.scalar_type() == (w.type == BF16 ? at::kBFloat16 : at::kFloat) && w.type != FP16;
}

void multiply_by_torch(const Matrix& w, const Tensor& x, const optional<Tensor>& bias, Tensor& y) {
  bool narrow = x.scalar_type() == at::kBFloat16;
  int64_t stride = w.words() * WORD, step = std::max<int64_t>(64, SLAB_WEIGHTS / stride);
  Tensor slab = at::from_blob(scratch(step * stride, 2), {std::min(step, w.rows), stride}, x.options());
  for (int64_t from = 0; from < w.rows; from += step) {
    int64_t count = std::min(step, w.rows - from);
    char* out = (char*)slab.data_ptr();
    at::parallel_for(0, count, 16, [&](int64_t first, int64_t last) {
      kernels_in_use().unpack(w, narrow, from + first, from + last, out + first * stride * (narrow ? 2 : 4));
    });
    Tensor product = at::linear(x, slab.narrow(0, 0, count).narrow(1, 0, w.columns));
    if (bias) product.add_(bias->narrow(0, from, count));
    y.narrow(1, from, count).copy_(product);
  }
}

}  // namespace

Tensor linear(const Tensor& x, const Packed& matrix) {
  int64_t rows = matrix->rows, columns = matrix->columns;
  TORCH_CHECK(x.size(-1) == columns, "the input has ", x.size(-1), " columns and the packed matrix ", columns);
  Matrix w = matrix->view();
  const optional<Tensor>& bias = matrix->bias;
  Tensor flat = x.reshape({-1, columns}).contiguous();
  bool many = left_to_torch(w, flat);
  if (many && !w.masks && w.type != INT8) return at::linear(x, matrix->values, bias);  // nothing to unpack
  auto shape = x.sizes().vec();
  shape.back() = rows;
  Tensor y = at::empty(shape, x.options());
  if (many) {
    Tensor rows_of_y = y.view({-1, rows});
    multiply_by_torch(w, flat, bias, rows_of_y);
    return y;
  }
  Tensor wide_bias = bias ? bias->to(at::kFloat).contiguous() : Tensor();
  if (y.numel()) multiply(w, flat, bias ? wide_bias.data_ptr<float>() : nullptr, y);
  return y;
}

}  // namespace espalier
