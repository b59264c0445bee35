// The portable kernels: a row is unpacked to floats and multiplied. Included once for any processor and once for AVX2.
// Everything is in an anonymous namespace, so that each inclusion keeps its own instructions (see matrix.h).
#include "elementwise.h"
#include "matrix.h"

#include <string.h>
#ifdef ESPALIER_AVX2
#include <immintrin.h>
#endif

namespace espalier {
namespace {

// The float of one stored value.
inline float widen(uint16_t value, Values type) { return type == BF16 ? from_bits((uint32_t)value << 16) : widen_half(value); }
inline float widen(float value, Values) { return value; }
inline float widen(int8_t value, Values) { return (float)value; }

#ifdef ESPALIER_AVX2
// For each byte of a mask: which of the next values goes to each of 8 places, as shuffles of 16-bit and of 8-bit
// values (0x80: zero) and as a permutation of 32-bit ones.
struct Places {
  alignas(64) uint8_t words[256][16] = {}, bytes[256][8] = {}, lanes[256][8] = {};
  constexpr Places() {
    for (int mask = 0; mask < 256; mask++)
      for (int place = 0, next = 0; place < 8; place++) {
        bool kept = mask >> place & 1;
        bytes[mask][place] = kept ? (uint8_t)next : 0x80;
        lanes[mask][place] = kept ? next : 0;
        words[mask][2 * place] = kept ? 2 * next : 0x80;
        words[mask][2 * place + 1] = kept ? 2 * next + 1 : 0x80;
        next += kept;
      }
  }
};
constexpr Places places;  // made by the compiler: nothing runs when the library is loaded

inline __m256 eight(const uint16_t* values, int mask, Values type) {
  __m128i spread = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i*)values), _mm_load_si128((const __m128i*)places.words[mask]));
  if (type == FP16) return _mm256_cvtph_ps(spread);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(spread), 16));
}
inline __m256 eight(const int8_t* values, int mask, Values) {
  __m128i spread = _mm_shuffle_epi8(_mm_loadl_epi64((const __m128i*)values), _mm_loadl_epi64((const __m128i*)places.bytes[mask]));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(spread));
}
inline __m256 eight(const float* values, int mask, Values) {
  __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)places.lanes[mask]));
  __m256i bits = _mm256_sllv_epi32(_mm256_set1_epi32(mask << 24), _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0));
  __m256 spread = _mm256_permutevar8x32_ps(_mm256_loadu_ps(values), lanes);
  return _mm256_and_ps(spread, _mm256_castsi256_ps(_mm256_srai_epi32(bits, 31)));
}
#endif

// One word of a row to 64 floats; returns how many values it took.
template <typename T>
int64_t unpack_word(const T* values, uint64_t mask, Values type, float* out) {
#ifdef ESPALIER_AVX2
  const T* next = values;
  for (int part = 0; part < 8; part++, mask >>= 8, out += 8) {
    int byte = (int)(mask & 255);
    _mm256_storeu_ps(out, eight(next, byte, type));
    next += __builtin_popcount(byte);
  }
  return next - values;
#else
  memset(out, 0, WORD * sizeof(float));
  int64_t taken = 0;
  for (; mask; mask &= mask - 1) out[__builtin_ctzll(mask)] = widen(values[taken++], type);
  return taken;
#endif
}

template <typename T>
void unpack_row(const Matrix& w, int64_t row, float* out) {
  if (w.masks) {
    const T* values = (const T*)w.values + w.start(row);
    const uint64_t* masks = w.masks + row * w.words();
    for (int64_t word = 0; word < w.words(); word++) values += unpack_word(values, masks[word], w.type, out + WORD * word);
  } else {
    const T* values = (const T*)w.values + row * w.columns;
    for (int64_t column = 0; column < w.columns; column++) out[column] = widen(values[column], w.type);
    memset(out + w.columns, 0, (w.words() * WORD - w.columns) * sizeof(float));
  }
  if (w.type != INT8) return;
  for (int64_t group = 0; group < w.groups(); group++) {
    float scale = w.scales[row * w.groups() + group];
    int64_t end = (group + 1) * w.group < w.columns ? (group + 1) * w.group : w.columns;
    for (int64_t column = group * w.group; column < end; column++) out[column] *= scale;
  }
}

// Of two vectors of floats whose length is a whole number of words. Eight sums, so that additions need not wait.
float dot(const float* left, const float* right, int64_t length) {
#ifdef ESPALIER_AVX2
  __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  for (int64_t at = 0; at < length; at += 32)
    for (int part = 0; part < 4; part++)
      sums[part] = _mm256_fmadd_ps(_mm256_loadu_ps(left + at + 8 * part), _mm256_loadu_ps(right + at + 8 * part), sums[part]);
  float lanes[8], total = 0;
  _mm256_storeu_ps(lanes, _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
  for (float lane : lanes) total += lane;
  return total;
#else
  float sums[16] = {}, total = 0;
  for (int64_t at = 0; at < length; at += 16)
    for (int lane = 0; lane < 16; lane++) sums[lane] += left[at + lane] * right[at + lane];
  for (float sum : sums) total += sum;
  return total;
#endif
}

void multiply(const Matrix& w, const Inputs& x, int64_t begin, int64_t end, float* scratch, float* y) {
  for (int64_t row = begin; row < end; row++) {
    if (w.type == INT8) unpack_row<int8_t>(w, row, scratch);
    else if (w.type == FP32) unpack_row<float>(w, row, scratch);
    else unpack_row<uint16_t>(w, row, scratch);
    for (int64_t m = 0; m < x.count; m++) y[m * (end - begin) + row - begin] = dot(scratch, x.wide + m * x.stride, x.stride);
  }
}

}  // namespace
}  // namespace espalier
