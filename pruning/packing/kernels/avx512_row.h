// For avx512.cpp, which sets the target first: a row of weights, however it is stored, in registers of 512 bits.
#pragma once

#include <immintrin.h>

#include "matrix.h"

namespace espalier {
namespace {

constexpr int64_t AHEAD = 4096;  // bytes of values that are asked of memory before they are needed

// The values that follow `from`, each where `mask` has a bit, and zeros elsewhere. By hand, because the target has to be
// the register of the source: Zen processors let an expand wait for what its target held before, even though nothing of it
// is kept, and with the register that a compiler takes each word waits for the one before (1.7 against 0.8 ns a word).
#define ESPALIER_EXPAND(NAME, INSTRUCTION, VECTOR, LOAD, MASK)          \
  inline VECTOR NAME(MASK mask, const void* from) {                     \
    VECTOR values = LOAD;                                               \
    asm(INSTRUCTION " %0, %0%{%1%}%{z%}" : "+v"(values) : "Yk"(mask));  \
    return values;                                                      \
  }
ESPALIER_EXPAND(expand_bytes64, "vpexpandb", __m512i, _mm512_loadu_si512(from), __mmask64)
ESPALIER_EXPAND(expand_words32, "vpexpandw", __m512i, _mm512_loadu_si512(from), __mmask32)
ESPALIER_EXPAND(expand_floats16, "vexpandps", __m512, _mm512_loadu_ps(from), __mmask16)
ESPALIER_EXPAND(expand_words16, "vpexpandw", __m256i, _mm256_loadu_si256((const __m256i*)from), __mmask16)
ESPALIER_EXPAND(expand_bytes16, "vpexpandb", __m128i, _mm_loadu_si128((const __m128i*)from), __mmask16)

inline __m512bh pairs(__m512i bits) { return (__m512bh)bits; }

// The next 64 (or 32, or 16) weights of a row, however they are stored. `next` moves on.
// Masked: by mask; dense: the last word of a row may be cut short, its mask then says where.
template <bool MASKED>
struct Row {
  const char* next;
  const uint64_t* masks;

  Row(const Matrix& w, int64_t row, int size)
      : next((const char*)w.values + (MASKED ? w.start(row) : row * w.columns) * size),
        masks(MASKED ? w.masks + row * w.words() : nullptr) {}

  uint64_t mask(int64_t word, int64_t columns) const {
    if (MASKED) return masks[word];
    int64_t left = columns - WORD * word;
    return left >= WORD ? ~0ull : (1ull << left) - 1;
  }
  // A word of a mask takes up to `size` lines of values, of which the rest comes with the words that follow.
  void prefetch(int size) const {
    _mm_prefetch(next + AHEAD, _MM_HINT_T0);
    if (!MASKED && size > 1) _mm_prefetch(next + AHEAD + 64, _MM_HINT_T0);
  }

  __m512i words32(uint32_t mask) {
    __m512i weights = MASKED ? expand_words32(mask, next) : _mm512_maskz_loadu_epi16(mask, next);
    next += 2 * (MASKED ? _mm_popcnt_u32(mask) : 32);
    return weights;
  }
  __m512i bytes64(uint64_t mask) {
    __m512i weights = MASKED ? expand_bytes64(mask, next) : _mm512_maskz_loadu_epi8(mask, next);
    next += MASKED ? _mm_popcnt_u64(mask) : 64;
    return weights;
  }
  __m512 floats16(uint16_t mask, Values type) {
    if (type == FP32) {
      __m512 weights = MASKED ? expand_floats16(mask, next) : _mm512_maskz_loadu_ps(mask, next);
      next += 4 * (MASKED ? _mm_popcnt_u32(mask) : 16);
      return weights;
    }
    if (type == INT8) {
      __m128i eights = MASKED ? expand_bytes16(mask, next) : _mm_maskz_loadu_epi8(mask, next);
      next += MASKED ? _mm_popcnt_u32(mask) : 16;
      return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(eights));
    }
    __m256i halves = MASKED ? expand_words16(mask, next) : _mm256_maskz_loadu_epi16(mask, next);
    next += 2 * (MASKED ? _mm_popcnt_u32(mask) : 16);
    return _mm512_cvtph_ps(halves);
  }
};

}  // namespace
}  // namespace espalier
