// The kernels as operators of torch, over torch's own threads, with the instruction set chosen where they run.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linear.h>
#include <torch/library.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "matrix.h"

namespace {
using namespace espalier;
using at::Tensor;
using c10::optional;

constexpr int64_t BLOCK = 64;              // rows whose outputs wait as floats until they are stored
constexpr int64_t ROWS_WORTH_A_THREAD = 32768;  // weights below which a second thread costs more than it does

constexpr int64_t TORCH_FROM = 96;         // rows of x from which torch's own product is the faster
constexpr int64_t SLAB_WEIGHTS = 2 << 20;  // weights that are unpacked for it at once

bool runs_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
  return false;
#endif
}

bool runs_avx512() {
#if defined(__x86_64__)
  for (bool has : {__builtin_cpu_supports("avx512f") != 0, __builtin_cpu_supports("avx512bw") != 0,
                   __builtin_cpu_supports("avx512dq") != 0, __builtin_cpu_supports("avx512vl") != 0,
                   __builtin_cpu_supports("avx512vbmi2") != 0, __builtin_cpu_supports("avx512vnni") != 0,
                   __builtin_cpu_supports("avx512bf16") != 0})
    if (!has) return false;
  return true;
#else
  return false;
#endif
}

// The best kernels of this processor that are not above what is asked for.
const Kernels* choose(const std::string& most) {
  if ((most.empty() || most == "avx512") && runs_avx512()) return avx512_kernels();
  if (most != "plain" && runs_avx2()) return avx2_kernels();
  return plain_kernels();
}

const Kernels* chosen = choose(std::getenv("ESPALIER_KERNELS") ? std::getenv("ESPALIER_KERNELS") : "");

std::string use_kernels(std::string most) {
  chosen = choose(most);
  return chosen->name;
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
  const Kernels& kernels = *chosen;
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
  if (!chosen->unpack || x.size(0) < TORCH_FROM) return false;
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
      chosen->unpack(w, narrow, from + first, from + last, out + first * stride * (narrow ? 2 : 4));
    });
    Tensor product = at::linear(x, slab.narrow(0, 0, count).narrow(1, 0, w.columns));
    if (bias) product.add_(bias->narrow(0, from, count));
    y.narrow(1, from, count).copy_(product);
  }
}

// y = x W^T + bias for x [..., columns]; the other arguments are those of `Matrix`.
Tensor linear(const Tensor& x, const Tensor& values, const optional<Tensor>& masks, const optional<Tensor>& starts,
              const optional<Tensor>& scales, const optional<Tensor>& bias, int64_t rows, int64_t columns,
              int64_t group, int64_t row_values) {
  TORCH_CHECK(x.size(-1) == columns, "the input has ", x.size(-1), " columns and the packed matrix ", columns);
  Matrix w{type_of(values), rows, columns, values.data_ptr(), nullptr, nullptr, row_values, nullptr, group};
  if (masks) w.masks = reinterpret_cast<const uint64_t*>(masks->data_ptr<int64_t>());
  if (starts) w.starts = starts->data_ptr<int64_t>();
  if (scales) w.scales = scales->data_ptr<float>();
  Tensor flat = x.reshape({-1, columns}).contiguous();
  auto shape = x.sizes().vec();
  shape.back() = rows;
  Tensor y = at::empty(shape, x.options());
  if (left_to_torch(w, flat)) {
    Tensor rows_of_y = y.view({-1, rows});
    multiply_by_torch(w, flat, bias, rows_of_y);
    return y;
  }
  Tensor wide_bias = bias ? bias->to(at::kFloat).contiguous() : Tensor();
  if (y.numel()) multiply(w, flat, bias ? wide_bias.data_ptr<float>() : nullptr, y);
  return y;
}

// Reads every word of a tensor, for the rate at which memory can be read: the bound of products with one row.
int64_t read_words(const Tensor& words) {
  const int64_t* data = words.data_ptr<int64_t>();
  std::atomic<int64_t> total{0};
  at::parallel_for(0, words.numel() / 16, 1 << 16, [&](int64_t first, int64_t last) {
    int64_t sums[16] = {};
    for (int64_t block = first; block < last; block++)
      for (int64_t at = 0; at < 16; at++) sums[at] += data[16 * block + at];
    int64_t sum = 0;
    for (int64_t one : sums) sum += one;
    total += sum;
  });
  return total;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(espalier, library) {
  library.def(
      "linear(Tensor x, Tensor values, Tensor? masks, Tensor? starts, Tensor? scales, Tensor? bias, int rows, "
      "int columns, int group, int row_values) -> Tensor");
  library.def("read(Tensor words) -> int");
  library.def("use_kernels(str most) -> str", &use_kernels);
}

TORCH_LIBRARY_IMPL(espalier, CPU, library) { library.impl("linear", &linear), library.impl("read", &read_words); }
