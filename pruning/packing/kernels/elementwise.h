// The small operations between the matrices of a decoder block, for one token. Included by each instruction set's file
// after its target, in an anonymous namespace (see matrix.h), so that plain loops are vectorised for that target.
// Everything is computed in floats and rounded where a model of the given type rounds.
#pragma once

#include "matrix.h"

namespace espalier {
namespace {

constexpr int LANES = 16;  // sums of their own, so that a compiler may put them into vectors

inline float from_bits(uint32_t bits) { return __builtin_bit_cast(float, bits); }
inline uint32_t to_bits(float value) { return __builtin_bit_cast(uint32_t, value); }

inline float widen_half(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31, fraction = half & 0x3ff;
  if (exponent == 31) return from_bits(sign | 0x7f800000 | fraction << 13);
  if (exponent) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
  float value = (float)fraction * 0x1p-24f;
  return sign ? -value : value;
}

inline uint16_t narrow_half(float value) {
  uint32_t bits = to_bits(value), sign = bits >> 16 & 0x8000;
  bits &= 0x7fffffff;
  if (bits >= 0x47800000) return (uint16_t)(sign | (bits > 0x7f800000 ? 0x7e00 : 0x7c00));
  // Below the smallest normal number: next to a half, a float has as many bits after the point as are left here.
  if (bits < 0x38800000) return (uint16_t)(sign | (to_bits(from_bits(bits) + 0.5f) - 0x3f000000));
  bits += 0xc8000fff + (bits >> 13 & 1);
  return (uint16_t)(sign | bits >> 13);
}

inline uint16_t narrow_bfloat(float value) {
  uint32_t bits = to_bits(value);
  return value != value ? 0x7fc0 : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <Values T>
inline float load(const void* from, int64_t at) {
  if (T == FP32) return ((const float*)from)[at];
  uint16_t half = ((const uint16_t*)from)[at];
  return T == BF16 ? from_bits((uint32_t)half << 16) : widen_half(half);
}

template <Values T>
inline void save(float value, void* to, int64_t at) {
  if (T == FP32) ((float*)to)[at] = value;
  else ((uint16_t*)to)[at] = T == BF16 ? narrow_bfloat(value) : narrow_half(value);
}

template <Values T>
inline float rounded(float value) {
  if (T == BF16) return from_bits((uint32_t)narrow_bfloat(value) << 16);
  return T == FP16 ? widen_half(narrow_half(value)) : value;
}

// e^x within two units in the last place from -87 to 88, and what it is there beyond.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  float whole = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // to nearest
  float rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  float sum = 1.9875691500e-4f;
  sum = sum * rest + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  sum = (sum * rest * rest + rest) + 1.0f;
  return sum * from_bits((uint32_t)((int32_t)whole + 127) << 23);
}

template <Values T>
float dot_row(const float* left, const void* right, int64_t size) {
  float sums[LANES] = {}, total = 0;
  int64_t at = 0;
  for (; at + LANES <= size; at += LANES)
    for (int lane = 0; lane < LANES; lane++) sums[lane] += left[at + lane] * load<T>(right, at + lane);
  for (; at < size; at++) total += left[at] * load<T>(right, at);
  for (float sum : sums) total += sum;
  return total;
}

template <Values T>
struct Typed {
  static void widen(const void* from, int64_t size, float* out) {
    for (int64_t at = 0; at < size; at++) out[at] = load<T>(from, at);
  }

  static void narrow(const float* from, int64_t size, void* out) {
    for (int64_t at = 0; at < size; at++) save<T>(from[at], out, at);
  }

  static void round(const float* y, const void* bias, int64_t size, float* out) {
    for (int64_t at = 0; at < size; at++) out[at] = rounded<T>(bias ? y[at] + load<T>(bias, at) : y[at]);
  }

  static void add(const float* x, int64_t size, float* to) {
    for (int64_t at = 0; at < size; at++) to[at] = rounded<T>(to[at] + x[at]);
  }

  static void normalise(const float* x, const void* weight, float epsilon, int64_t size, float* out) {
    float scale = 1 / __builtin_sqrtf(dot_row<FP32>(x, x, size) / (float)size + epsilon);
    for (int64_t at = 0; at < size; at++) out[at] = rounded<T>(load<T>(weight, at) * rounded<T>(x[at] * scale));
  }

  static void rotate(const void* cosines, const void* sines, int64_t size, float* head) {
    int64_t half = size / 2;
    for (int64_t at = 0; at < half; at++) {
      float first = head[at], second = head[at + half];
      head[at] = rounded<T>(rounded<T>(first * load<T>(cosines, at)) + rounded<T>(-second * load<T>(sines, at)));
      head[at + half] =
          rounded<T>(rounded<T>(second * load<T>(cosines, at + half)) + rounded<T>(first * load<T>(sines, at + half)));
    }
  }

  static void gate(const float* up, int64_t size, float* to) {
    for (int64_t at = 0; at < size; at++)
      to[at] = rounded<T>(rounded<T>(to[at] / (1.0f + exponential(-to[at]))) * up[at]);
  }

  static void attend(const float* query, const Rows& keys, const Rows& values, float scale, float* scores, float* out) {
    float most = -__builtin_inff(), total = 0;
    for (int64_t t = 0; t < keys.count; t++) {
      scores[t] = scale * dot_row<T>(query, keys.row(t), keys.size);
      most = scores[t] > most ? scores[t] : most;
    }
    for (int64_t t = 0; t < keys.count; t++) scores[t] = exponential(scores[t] - most);
    for (int64_t t = 0; t < keys.count; t++) total += scores[t];
    for (int64_t at = 0; at < values.size; at++) out[at] = 0;
    for (int64_t t = 0; t < keys.count; t++) {
      const void* row = values.row(t);
      for (int64_t at = 0; at < values.size; at++) out[at] += scores[t] * load<T>(row, at);
    }
    for (int64_t at = 0; at < values.size; at++) out[at] = rounded<T>(out[at] / total);
  }

  static constexpr Elementwise table{widen, narrow, round, add, normalise, rotate, gate, attend};
};

const Elementwise* elementwise(Values type) {
  switch (type) {
    case BF16: return &Typed<BF16>::table;
    case FP16: return &Typed<FP16>::table;
    default: return &Typed<FP32>::table;
  }
}

}  // namespace
}  // namespace espalier
