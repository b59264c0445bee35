// For x86 processors with AVX-512 F, BW, DQ, VL, VBMI2, VNNI and BF16 (Zen 4, Sapphire Rapids and later).
//
// A mask word and the values that follow are turned into 64 weights by the expand instruction, in registers. BF16 goes
// through vdpbf16ps; INT8 through vpdpbusd, twice, since the inputs have 16 bits there (a high and a low plane), and a
// third time with ones for the sum of the weights, which takes the offset of the unsigned inputs out again.
#if defined(__x86_64__)
#include "matrix.h"

#include <string.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,avx512vnni,avx512bf16,popcnt,bmi,bmi2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,avx512vnni,avx512bf16,popcnt,bmi,bmi2,fma,f16c")
#endif
#include "avx512_row.h"
#include "elementwise.h"

namespace espalier {
namespace {

constexpr int64_t FLUSH = 64;       // words after which 32-bit sums of INT8 products are taken out: they hold 128
constexpr int64_t SLAB = 64;        // rows of weights that are unpacked at once for many rows of x, at most
constexpr int64_t SLAB_BYTES = 256 << 10;  // and what they may take of the second cache
constexpr int64_t DEPTH = 4096;     // bytes of a row that are multiplied at once: of all rows of a tile, the first cache
constexpr int ROWS = 4, COLUMNS = 6;  // of one register tile: 24 sums, 4 weights, 1 input

// How many words go into sums of their own, so that no product waits for the one before it.
template <int M>
constexpr int together = M == 1 ? 4 : M == 2 ? 2 : 1;

inline float total(const __m512* sums, int count) {
  __m512 sum = sums[0];
  for (int at = 1; at < count; at++) sum = _mm512_add_ps(sum, sums[at]);
  return _mm512_reduce_add_ps(sum);
}

template <int M, bool MASKED>
void few_bf16(const Matrix& w, const Inputs& x, int64_t begin, int64_t end, float* y) {
  constexpr int T = together<M>;
  for (int64_t row = begin; row < end; row++) {
    Row<MASKED> weights(w, row, 2);
    __m512 sums[M][2 * T];
    for (auto& sum : sums)
      for (auto& part : sum) part = _mm512_setzero_ps();
    auto step = [&](int64_t word, int at) __attribute__((always_inline)) {
      uint64_t mask = weights.mask(word, w.columns);
      weights.prefetch(2);
      __m512bh first = pairs(weights.words32((uint32_t)mask)), second = pairs(weights.words32((uint32_t)(mask >> 32)));
      for (int m = 0; m < M; m++) {
        const uint16_t* input = x.narrow + m * x.stride + WORD * word;
        sums[m][2 * at] = _mm512_dpbf16_ps(sums[m][2 * at], first, pairs(_mm512_loadu_si512(input)));
        sums[m][2 * at + 1] = _mm512_dpbf16_ps(sums[m][2 * at + 1], second, pairs(_mm512_loadu_si512(input + 32)));
      }
    };
    int64_t word = 0, words = w.words();
    for (; word + T <= words; word += T) {
#pragma GCC unroll 4
      for (int at = 0; at < T; at++) step(word + at, at);
    }
    for (; word < words; word++) step(word, 0);
    for (int m = 0; m < M; m++) y[m * (end - begin) + row - begin] = total(sums[m], 2 * T);
  }
}

template <int M, bool MASKED>
void few_wide(const Matrix& w, const Inputs& x, int64_t begin, int64_t end, float* y) {
  for (int64_t row = begin; row < end; row++) {
    Row<MASKED> weights(w, row, w.type == FP32 ? 4 : 2);
    __m512 sums[M][4];
    for (auto& sum : sums) for (auto& part : sum) part = _mm512_setzero_ps();
    for (int64_t word = 0; word < w.words(); word++) {
      uint64_t mask = weights.mask(word, w.columns);
      weights.prefetch(w.type == INT8 ? 1 : 2);
      for (int part = 0; part < 4; part++, mask >>= 16) {
        __m512 sixteen = weights.floats16((uint16_t)mask, w.type);
        for (int m = 0; m < M; m++)
          sums[m][part] = _mm512_fmadd_ps(sixteen, _mm512_loadu_ps(x.wide + m * x.stride + WORD * word + 16 * part), sums[m][part]);
      }
    }
    for (int m = 0; m < M; m++)
      y[m * (end - begin) + row - begin] = _mm512_reduce_add_ps(
          _mm512_add_ps(_mm512_add_ps(sums[m][0], sums[m][1]), _mm512_add_ps(sums[m][2], sums[m][3])));
  }
}

template <int M, bool MASKED>
void few_int8(const Matrix& w, const Inputs& x, int64_t begin, int64_t end, float* y) {
  constexpr int T = M == 1 ? 2 : 1;
  const __m512i ones = _mm512_set1_epi8(1), none = _mm512_setzero_si512();
  const int64_t words = w.words(), stretch = w.group / WORD < FLUSH && w.group < w.columns ? w.group / WORD : FLUSH;
  for (int64_t row = begin; row < end; row++) {
    Row<MASKED> weights(w, row, 1);
    const float* scales = w.scales + row * w.groups();
    __m512 totals[M];
    for (auto& total : totals) total = _mm512_setzero_ps();
    for (int64_t from = 0; from < words; from += stretch) {
      int64_t to = from + stretch < words ? from + stretch : words;
      __m512i high[M][T], low[M][T], sum[T];
      for (int at = 0; at < T; at++) {
        sum[at] = none;
        for (int m = 0; m < M; m++) high[m][at] = low[m][at] = none;
      }
      auto step = [&](int64_t word, int at) __attribute__((always_inline)) {
        uint64_t mask = weights.mask(word, w.columns);
        weights.prefetch(1);
        __m512i eights = weights.bytes64(mask);
        sum[at] = _mm512_dpbusd_epi32(sum[at], ones, eights);
        for (int m = 0; m < M; m++) {
          int64_t input = m * x.stride + WORD * word;
          high[m][at] = _mm512_dpbusd_epi32(high[m][at], _mm512_loadu_si512(x.high + input), eights);
          low[m][at] = _mm512_dpbusd_epi32(low[m][at], _mm512_loadu_si512(x.low + input), eights);
        }
      };
      int64_t word = from;
      for (; word + T <= to; word += T) {
#pragma GCC unroll 4
        for (int at = 0; at < T; at++) step(word + at, at);
      }
      for (; word < to; word++) step(word, 0);
      // high - 128 sum is that of signed high bytes, at most 2^15 x 4 x 64 a lane: times 256 it still fits.
      __m512 scale = _mm512_set1_ps(scales[from * WORD / w.group]);
      for (int at = 1; at < T; at++) sum[0] = _mm512_add_epi32(sum[0], sum[at]);
      for (int m = 0; m < M; m++) {
        for (int at = 1; at < T; at++) {
          high[m][0] = _mm512_add_epi32(high[m][0], high[m][at]);
          low[m][0] = _mm512_add_epi32(low[m][0], low[m][at]);
        }
        __m512i signs = _mm512_sub_epi32(high[m][0], _mm512_slli_epi32(sum[0], 7));
        __m512i whole = _mm512_add_epi32(_mm512_slli_epi32(signs, 8), low[m][0]);
        totals[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), scale, totals[m]);
      }
    }
    for (int m = 0; m < M; m++) y[m * (end - begin) + row - begin] = x.step[m] * _mm512_reduce_add_ps(totals[m]);
  }
}

template <int M>
void few(const Matrix& w, const Inputs& x, int64_t begin, int64_t end, float* y) {
  if (w.type == BF16) w.masks ? few_bf16<M, true>(w, x, begin, end, y) : few_bf16<M, false>(w, x, begin, end, y);
  else if (w.type == INT8) w.masks ? few_int8<M, true>(w, x, begin, end, y) : few_int8<M, false>(w, x, begin, end, y);
  else w.masks ? few_wide<M, true>(w, x, begin, end, y) : few_wide<M, false>(w, x, begin, end, y);
}

void multiply_few(const Matrix& w, const Inputs& x, int64_t begin, int64_t end, float*, float* y) {
  switch (x.count) {
    case 1: return few<1>(w, x, begin, end, y);
    case 2: return few<2>(w, x, begin, end, y);
    case 3: return few<3>(w, x, begin, end, y);
    default: return few<4>(w, x, begin, end, y);
  }
}

// Two vectors of sixteen floats to 32 bf16, rounded to nearest even.
inline __m512i narrowed(__m512 first, __m512 second) { return (__m512i)_mm512_cvtne2ps_pbh(second, first); }

template <bool MASKED>
void unpack_narrow(const Matrix& w, int64_t row, uint16_t* out) {
  Row<MASKED> weights(w, row, w.type == INT8 ? 1 : 2);
  for (int64_t word = 0; word < w.words(); word++, out += WORD) {
    uint64_t mask = weights.mask(word, w.columns);
    weights.prefetch(w.type == INT8 ? 1 : 2);
    if (w.type == BF16) {
      _mm512_storeu_si512(out, weights.words32((uint32_t)mask));
      _mm512_storeu_si512(out + 32, weights.words32((uint32_t)(mask >> 32)));
      continue;
    }
    __m512i eights = weights.bytes64(mask);
    __m512 scale = _mm512_set1_ps(w.scales[row * w.groups() + word * WORD / w.group]), parts[4];
    parts[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm512_castsi512_si128(eights)));
    parts[1] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32(eights, 1)));
    parts[2] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32(eights, 2)));
    parts[3] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32(eights, 3)));
    for (auto& part : parts) part = _mm512_mul_ps(part, scale);
    _mm512_storeu_si512(out, narrowed(parts[0], parts[1]));
    _mm512_storeu_si512(out + 32, narrowed(parts[2], parts[3]));
  }
}

template <bool MASKED>
void unpack_wide(const Matrix& w, int64_t row, float* out) {
  Row<MASKED> weights(w, row, w.type == FP32 ? 4 : w.type == INT8 ? 1 : 2);
  for (int64_t word = 0; word < w.words(); word++) {
    uint64_t mask = weights.mask(word, w.columns);
    __m512 scale = _mm512_set1_ps(w.type == INT8 ? w.scales[row * w.groups() + word * WORD / w.group] : 1);
    for (int part = 0; part < 4; part++, mask >>= 16, out += 16)
      _mm512_storeu_ps(out, _mm512_mul_ps(weights.floats16((uint16_t)mask, w.type), scale));
  }
}

// R rows of unpacked weights by C rows of x, both NARROW bf16 or else float, `length` bytes from where the pointers are;
// rows are `size` bytes apart. The sums are stored in y, or added to what is there.
template <int R, int C, bool NARROW>
void tile(const char* w, const char* x, int64_t size, int64_t length, bool add, float* y, int64_t y_stride) {
  __m512 sums[R][C];
  for (auto& row : sums)
    for (auto& sum : row) sum = _mm512_setzero_ps();
  for (int64_t at = 0; at < length; at += 64) {
    __m512i weights[R];
    for (int r = 0; r < R; r++) weights[r] = _mm512_loadu_si512(w + r * size + at);
    for (int c = 0; c < C; c++) {
      __m512i input = _mm512_loadu_si512(x + c * size + at);
      for (int r = 0; r < R; r++)
        sums[r][c] = NARROW ? _mm512_dpbf16_ps(sums[r][c], pairs(weights[r]), pairs(input))
                            : _mm512_fmadd_ps(_mm512_castsi512_ps(weights[r]), _mm512_castsi512_ps(input), sums[r][c]);
    }
  }
  for (int c = 0; c < C; c++)
    for (int r = 0; r < R; r++) {
      float sum = _mm512_reduce_add_ps(sums[r][c]);
      y[c * y_stride + r] = add ? y[c * y_stride + r] + sum : sum;
    }
}

// All `count` rows of the unpacked slab by C rows of x, which stay in the first cache meanwhile.
template <int C, bool NARROW>
void tiles(const char* slab, int64_t count, const char* x, int64_t size, int64_t length, bool add, float* y, int64_t y_stride) {
  int64_t row = 0;
  for (; row + ROWS <= count; row += ROWS) tile<ROWS, C, NARROW>(slab + row * size, x, size, length, add, y + row, y_stride);
  for (; row < count; row++) tile<1, C, NARROW>(slab + row * size, x, size, length, add, y + row, y_stride);
}

void unpack(const Matrix& w, bool narrow, int64_t begin, int64_t end, void* out) {
  const int64_t stride = w.words() * WORD;
  for (int64_t row = begin; row < end; row++) {
    int64_t at = (row - begin) * stride;
    if (narrow) w.masks ? unpack_narrow<true>(w, row, (uint16_t*)out + at) : unpack_narrow<false>(w, row, (uint16_t*)out + at);
    else w.masks ? unpack_wide<true>(w, row, (float*)out + at) : unpack_wide<false>(w, row, (float*)out + at);
  }
}

template <bool NARROW>
void many(const Matrix& w, const Inputs& x, int64_t begin, int64_t end, char* slab, float* y) {
  using Tiles = void (*)(const char*, int64_t, const char*, int64_t, int64_t, bool, float*, int64_t);
  const Tiles by_columns[] = {nullptr,          tiles<1, NARROW>, tiles<2, NARROW>, tiles<3, NARROW>,
                              tiles<4, NARROW>, tiles<5, NARROW>, tiles<6, NARROW>};
  const int64_t size = x.stride * (NARROW ? 2 : 4), y_stride = end - begin;
  const char* inputs = NARROW ? (const char*)x.narrow : (const char*)x.wide;
  int64_t rows = SLAB_BYTES / size < ROWS ? ROWS : SLAB_BYTES / size < SLAB ? SLAB_BYTES / size : SLAB;
  for (int64_t from = begin; from < end; from += rows) {
    int64_t count = end - from < rows ? end - from : rows;
    unpack(w, NARROW, from, from + count, slab);
    for (int64_t at = 0; at < size; at += DEPTH) {
      int64_t length = size - at < DEPTH ? size - at : DEPTH;
      for (int64_t m = 0; m < x.count; m += COLUMNS) {
        int64_t columns = x.count - m < COLUMNS ? x.count - m : COLUMNS;
        by_columns[columns](slab + at, count, inputs + m * size + at, size, length, at > 0, y + m * y_stride + from - begin, y_stride);
      }
    }
  }
}

void multiply_many(const Matrix& w, const Inputs& x, int64_t begin, int64_t end, float* scratch, float* y) {
  if (x.narrow) many<true>(w, x, begin, end, (char*)scratch, y);
  else many<false>(w, x, begin, end, (char*)scratch, y);
}

void split(const float* x, int64_t length, uint8_t* high, uint8_t* low, float* step) {
  __m512 most = _mm512_setzero_ps(), unfit = most;
  for (int64_t at = 0; at < length; at += 16) {
    __m512 values = _mm512_loadu_ps(x + at);
    most = _mm512_max_ps(most, _mm512_abs_ps(values));
    unfit = _mm512_add_ps(unfit, _mm512_sub_ps(values, values));  // 0, or not a number where a value is not finite
  }
  float largest = _mm512_reduce_max_ps(most), doubt = _mm512_reduce_add_ps(unfit);
  *step = largest / 32767.0f + doubt;
  // A step so small that its inverse is infinite belongs to inputs that are nothing in any sum.
  bool fit = doubt == 0 && largest > 1e-30f;
  __m512 inverse = _mm512_set1_ps(fit ? 32767.0f / largest : 0), offset = _mm512_set1_ps(32768.5f);  // rounds to nearest
  for (int64_t at = 0; at < length; at += 16) {
    __m512 values = fit ? _mm512_loadu_ps(x + at) : _mm512_setzero_ps();
    __m512i whole = _mm512_cvttps_epi32(_mm512_fmadd_ps(values, inverse, offset));
    _mm_storeu_si128((__m128i*)(high + at), _mm512_cvtepi32_epi8(_mm512_srli_epi32(whole, 8)));
    _mm_storeu_si128((__m128i*)(low + at), _mm512_cvtepi32_epi8(whole));
  }
}

}  // namespace

const Kernels* avx512_kernels() {
  static const Kernels kernels{"avx512", true, SLAB, multiply_few, multiply_many, split, unpack, elementwise};
  return &kernels;
}

}  // namespace espalier
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "matrix.h"

namespace espalier {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace espalier
#endif
