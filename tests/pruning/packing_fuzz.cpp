// Random packed matrices through every kernel of this processor, in memory of exactly the size that they are promised,
// against sums in double precision. Compiled with sanitizers by test_packing_kernels.py. Usage: packing_fuzz SEED ROUNDS
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "matrix.h"

using namespace espalier;

static uint16_t to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static float from_bf16(uint16_t value) {
  uint32_t bits = (uint32_t)value << 16;
  float wide;
  memcpy(&wide, &bits, 4);
  return wide;
}

template <typename T>
static std::unique_ptr<T[]> exactly(const std::vector<T>& values) {
  std::unique_ptr<T[]> memory(new T[values.size()]);
  std::copy(values.begin(), values.end(), memory.get());
  return memory;
}

static int failures = 0;

template <typename T>
static void round_of(std::mt19937& random, const Kernels& kernels, Values type) {
  auto below = [&](int64_t n) { return (int64_t)(random() % n); };
  std::normal_distribution<float> normal;
  int64_t rows = 1 + below(70), columns = 1 + below(300), count = 1 + below(15);
  bool masked = below(4) > 0;
  int64_t sparsity = below(101);
  Matrix w{type, rows, columns, nullptr, nullptr, nullptr, 0, nullptr, columns};
  if (type == INT8 && below(2)) w.group = WORD * (1 + below(3));
  std::vector<T> values;
  std::vector<uint64_t> masks(rows * w.words(), 0);
  std::vector<int64_t> starts;
  std::vector<float> scales(rows * w.groups());
  std::vector<double> dense(rows * columns, 0);
  for (auto& scale : scales) scale = std::fabs(normal(random));
  for (int64_t row = 0; row < rows; row++) {
    starts.push_back((int64_t)values.size());
    bool empty = below(8) == 0;
    for (int64_t column = 0; column < columns; column++) {
      bool kept = !empty && below(100) >= sparsity;
      if (masked && !kept) continue;
      masks[row * w.words() + column / WORD] |= 1ull << column % WORD;
      float value = kept ? normal(random) : 0;
      double exact = value;
      T stored{};
      if (type == BF16) stored = (T)to_bf16(value), exact = from_bf16((uint16_t)stored);
      if (type == FP32) stored = (T)value;
      if (type == INT8) {
        stored = (T)(kept ? (int)below(255) - 127 : 0);
        exact = (double)stored * scales[row * w.groups() + column / w.group];
      }
      values.push_back(stored);
      dense[row * columns + column] = exact;
    }
  }
  if (masked) values.resize(values.size() + 64 / sizeof(T));
  auto held_values = exactly(values);
  auto held_masks = exactly(masks);
  auto held_starts = exactly(starts);
  auto held_scales = exactly(scales);
  w.values = held_values.get();
  if (masked) w.masks = held_masks.get(), w.starts = held_starts.get();
  w.scales = held_scales.get();

  bool few = count <= MOST_DIRECT;
  Inputs x{count, w.words() * WORD, nullptr, nullptr, nullptr, nullptr, nullptr};
  std::vector<float> wide(count * x.stride, 0), step(count);
  std::vector<uint16_t> narrow(wide.size(), 0);
  std::vector<uint8_t> high(wide.size(), 128), low(wide.size(), 0);
  std::vector<double> sizes(count, 0);
  for (int64_t m = 0; m < count; m++) {
    for (int64_t column = 0; column < columns; column++) wide[m * x.stride + column] = from_bf16(to_bf16(normal(random)));
    float largest = 1e-20f;
    for (int64_t at = 0; at < x.stride; at++) largest = std::max(largest, std::fabs(wide[m * x.stride + at]));
    step[m] = largest / 32767;
    for (int64_t at = 0; at < x.stride; at++) {
      float value = wide[m * x.stride + at];
      int whole = (int)std::lround(value / step[m]) + 32768;
      narrow[m * x.stride + at] = to_bf16(value);
      high[m * x.stride + at] = (uint8_t)(whole >> 8);
      low[m * x.stride + at] = (uint8_t)whole;
    }
  }
  auto held_wide = exactly(wide);
  auto held_narrow = exactly(narrow);
  auto held_high = exactly(high);
  auto held_low = exactly(low);
  auto held_step = exactly(step);
  // INT8 weights take planes for few rows of x; for many they take either of the others.
  bool narrowed = kernels.narrow && (type == BF16 || (type == INT8 && !few && below(2)));
  x.wide = narrowed ? nullptr : held_wide.get(), x.narrow = narrowed ? held_narrow.get() : nullptr, x.high = held_high.get(), x.low = held_low.get();
  x.step = held_step.get();

  int64_t begin = below(rows), end = begin + 1 + below(rows - begin);
  std::unique_ptr<float[]> scratch(new float[kernels.slab * x.stride]), y(new float[count * (end - begin)]);
  (few ? kernels.multiply_few : kernels.multiply_many)(w, x, begin, end, scratch.get(), y.get());
  for (int64_t m = 0; m < count; m++)
    for (int64_t row = begin; row < end; row++) {
      double sum = 0, size = 1e-6, weight = 0;
      for (int64_t column = 0; column < columns; column++) {
        double part = dense[row * columns + column] * wide[m * x.stride + column];
        sum += part, size += std::fabs(part), weight += std::fabs(dense[row * columns + column]);
      }
      double found = y[m * (end - begin) + row - begin];
      // INT8: the steps of the planes, or weights rounded to bf16.
      double allowed = 1e-5 * size;
      if (type == INT8 && few) allowed += weight * step[m];
      if (type == INT8 && narrowed) allowed += 4e-3 * size;
      if (!(std::fabs(found - sum) <= allowed) && failures++ < 10)
        printf("%s type %d %ldx%ld count %ld masked %d group %ld row %ld: %g, not %g\n", kernels.name, type, (long)rows,
               (long)columns, (long)count, masked, (long)w.group, (long)row, found, sum);
    }
}

// A type's number nearest to a value, by halving the distance between its neighbours in double precision.
static double nearest(double value, Values type) {
  if (type == FP32 || !std::isfinite(value) || value == 0) return (float)value;
  int bits = type == BF16 ? 8 : 11, least = type == BF16 ? -133 : -24;
  int exponent = std::max(std::ilogb(value) - bits + 1, least);
  double rounded = std::ldexp(std::nearbyint(std::ldexp(value, -exponent)), exponent);
  return type == FP16 && std::fabs(rounded) > 65504 ? std::copysign(INFINITY, value) : rounded;
}

static void expect(bool right, const char* what, const Kernels& kernels, Values type, int64_t size) {
  if (!right && failures++ < 10) printf("%s: %s of type %d and size %ld\n", kernels.name, what, type, (long)size);
}

// The small operations of a block, in memory of exactly the size that they are promised.
static void small_operations(std::mt19937& random, const Kernels& kernels, Values type) {
  auto below = [&](int64_t n) { return (int64_t)(random() % n); };
  std::normal_distribution<float> normal;
  const Elementwise& small = *kernels.elementwise(type);
  int64_t bytes = type == FP32 ? 4 : 2, size = 2 * (1 + below(70)), count = 1 + below(9);
  double unit = type == BF16 ? 0x1p-8 : type == FP16 ? 0x1p-11 : 0x1p-23;
  auto numbers = [&](int64_t length, float scale) {
    std::unique_ptr<float[]> made(new float[length]);
    for (int64_t at = 0; at < length; at++) made[at] = (float)nearest(scale * normal(random), type);
    return made;
  };
  auto stored = [&](const float* from, int64_t length) {
    std::unique_ptr<char[]> made(new char[length * bytes]);
    small.narrow(from, length, made.get());
    return made;
  };

  std::unique_ptr<float[]> any(new float[size]), back(new float[size]);
  for (int64_t at = 0; at < size; at++) {
    uint32_t bits = random();
    memcpy(&any[at], &bits, 4);
  }
  small.widen(stored(any.get(), size).get(), size, back.get());
  for (int64_t at = 0; at < size; at++) {
    double expected = nearest(any[at], type);
    if (type == BF16 && std::fabs(expected) > 0x1.fep127) expected = std::copysign(INFINITY, expected);
    expect(std::isnan(any[at]) ? std::isnan(back[at]) : back[at] == expected, "rounding", kernels, type, size);
  }

  auto x = numbers(size, 2), weight = numbers(size, 1), up = numbers(size, 1), y = numbers(size, 1);
  auto weights = stored(weight.get(), size);
  double squares = 0;
  for (int64_t at = 0; at < size; at++) squares += (double)x[at] * x[at];
  small.normalise(x.get(), weights.get(), 1e-5f, size, y.get());
  for (int64_t at = 0; at < size; at++) {
    double expected = x[at] / std::sqrt(squares / size + 1e-5) * weight[at];
    expect(std::fabs(y[at] - expected) <= 2.5 * unit * std::fabs(expected) + 1e-6, "norm", kernels, type, size);
  }
  std::copy(x.get(), x.get() + size, y.get());
  y[0] = 200, y[1] = -200;
  small.gate(up.get(), size, y.get());
  for (int64_t at = 2; at < size; at++) {
    double expected = x[at] / (1 + std::exp(-(double)x[at])) * up[at];
    expect(std::fabs(y[at] - expected) <= 2.5 * unit * std::fabs(expected) + 1e-6, "gate", kernels, type, size);
  }
  expect(y[0] == (float)nearest(200 * up[0], type) && std::fabs(y[1]) < 1e-30, "gate of far values", kernels, type, size);
  std::copy(x.get(), x.get() + size, y.get());
  auto cosines = stored(up.get(), size);
  small.rotate(cosines.get(), weights.get(), size, y.get());
  for (int64_t at = 0; at < size; at++) {
    double other = at < size / 2 ? -x[at + size / 2] : x[at - size / 2], first = x[at] * up[at], second = other * weight[at];
    double slack = 1.5 * unit * (std::fabs(first) + std::fabs(second)) + unit * std::fabs(first + second);
    expect(std::fabs(y[at] - first - second) <= slack + 1e-6, "rotary", kernels, type, size);
  }
  auto keys = numbers(count * size, 1), values = numbers(count * size, 1);
  auto held_keys = stored(keys.get(), count * size), held_values = stored(values.get(), count * size);
  std::unique_ptr<float[]> scores(new float[count]);
  Rows key_rows{held_keys.get(), count, size, size * bytes}, value_rows{held_values.get(), count, size, size * bytes};
  small.attend(x.get(), key_rows, value_rows, 0.1f, scores.get(), y.get());
  std::vector<double> shares(count);
  double total = 0;
  for (int64_t t = 0; t < count; t++) {
    for (int64_t at = 0; at < size; at++) shares[t] += 0.1 * x[at] * keys[t * size + at];
    total += shares[t] = std::exp(shares[t]);
  }
  for (int64_t at = 0; at < size; at++) {
    double expected = 0, slack = 0;
    for (int64_t t = 0; t < count; t++) {
      expected += shares[t] / total * values[t * size + at];
      slack += shares[t] / total * std::fabs(values[t * size + at]);
    }
    expect(std::fabs(y[at] - expected) <= unit * std::fabs(expected) + 1e-4 * slack, "attention", kernels, type, size);
  }
}

int main(int, char** arguments) {
  std::mt19937 random((unsigned)atoi(arguments[1]));
  std::vector<const Kernels*> all{plain_kernels()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(avx2_kernels());
  if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bf16")) all.push_back(avx512_kernels());
#endif
  for (int round = 0; round < atoi(arguments[2]); round++)
    for (auto* kernels : all) {
      round_of<uint16_t>(random, *kernels, BF16);
      round_of<float>(random, *kernels, FP32);
      round_of<int8_t>(random, *kernels, INT8);
      for (Values type : {BF16, FP16, FP32}) small_operations(random, *kernels, type);
    }
  for (auto* kernels : all) printf("%s ", kernels->name);
  printf("%d failures\n", failures);
  return failures != 0;
}
