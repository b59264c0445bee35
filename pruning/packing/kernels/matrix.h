// A packed matrix as the kernels see it, and the table of kernels that each instruction set fills.
// No torch and no standard library in here: these files are compiled for several processors into one library, and an
// inline function of a header that was compiled for the newest of them must never be linked into code for an older one.
#pragma once

#include <stdint.h>

// So that a function of this header is part of its caller, and never a copy that the linker takes from another file.
#define ESPALIER_INLINE inline __attribute__((always_inline))

namespace espalier {

constexpr int64_t WORD = 64;      // columns that one mask word stands for
constexpr int64_t MOST_DIRECT = 4;  // rows of x that `multiply_few` takes at once

enum Values { BF16 = 0, FP16 = 1, FP32 = 2, INT8 = 3 };

// Rows [rows, columns] of weights. `masks` has ceil(columns / 64) words a row, the lowest bit first; without it every
// value is there. `starts` says where in `values` each row begins; without it each row has `row_values` of them.
// `scales` (INT8) has one entry for every `group` columns of a row: a multiple of 64, or all of them.
// At least 64 readable bytes follow the last value where there are masks.
struct Matrix {
  Values type;
  int64_t rows, columns;
  const void* values;
  const uint64_t* masks;
  const int64_t* starts;
  int64_t row_values;
  const float* scales;
  int64_t group;

  ESPALIER_INLINE int64_t words() const { return (columns + WORD - 1) / WORD; }
  ESPALIER_INLINE int64_t groups() const { return (columns + group - 1) / group; }
  ESPALIER_INLINE int64_t start(int64_t row) const { return starts ? starts[row] : row * row_values; }
};

// The inputs of one call, made ready by `prepare`: `count` rows, each padded with zeros to whole words.
// wide: as float (plain, AVX2, and FP16 and FP32 of AVX-512); narrow: bf16; low and high: x = step * (256 high + low - 32768).
struct Inputs {
  int64_t count, stride;
  const float* wide;
  const uint16_t* narrow;
  const uint8_t *low, *high;
  const float* step;
};

// Rows of `size` values of a type of floats, the key or value heads of a cache: each `step` bytes after the one before.
struct Rows {
  const char* first;
  int64_t count, size, step;

  ESPALIER_INLINE const void* row(int64_t at) const { return first + at * step; }
};

// The small operations of a decoder block on one token, for a model of one type: rounded where that model rounds.
struct Elementwise {
  void (*widen)(const void* from, int64_t size, float* out);
  void (*narrow)(const float* from, int64_t size, void* out);
  void (*round)(const float* y, const void* bias, int64_t size, float* out);  // y, or y + bias; out may be y
  void (*add)(const float* x, int64_t size, float* to);
  void (*normalise)(const float* x, const void* weight, float epsilon, int64_t size, float* out);  // RMSNorm
  void (*rotate)(const void* cosines, const void* sines, int64_t size, float* head);  // rotary, by halves
  void (*gate)(const float* up, int64_t size, float* to);  // SiLU(to) * up
  // One query over all keys: softmax(scale q k) v. scores: keys.count floats.
  void (*attend)(const float* query, const Rows& keys, const Rows& values, float scale, float* scores, float* out);
};

// What one instruction set offers. Every product works on the rows begin <= row < end of the matrix.
struct Kernels {
  const char* name;
  bool narrow;   // whether BF16 weights want narrow inputs (as INT8 ones may, for many rows)
  int64_t slab;  // rows that `multiply_many` unpacks at once; scratch holds slab x stride floats (or bf16)
  // y[row - begin + (end - begin) * m] for count <= MOST_DIRECT; scratch: stride floats.
  void (*multiply_few)(const Matrix&, const Inputs&, int64_t begin, int64_t end, float* scratch, float* y);
  // The same for any count, by unpacking `slab` rows at a time. With narrow inputs INT8 weights are rounded to bf16.
  void (*multiply_many)(const Matrix&, const Inputs&, int64_t begin, int64_t end, float* scratch, float* y);
  // Null, or what makes the planes of `length` floats (whole words) for INT8 weights and few rows, and their step: not a
  // number where one of the floats is not finite.
  void (*split)(const float* x, int64_t length, uint8_t* high, uint8_t* low, float* step);
  // Null, or what writes rows as bf16 (or else float), each padded to whole words: out is [end - begin, stride].
  void (*unpack)(const Matrix&, bool narrow, int64_t begin, int64_t end, void* out);
  // The small operations for a model of BF16, FP16 or FP32.
  const Elementwise* (*elementwise)(Values type);
};

const Kernels* plain_kernels();
const Kernels* avx2_kernels();    // null where the library was not compiled for x86
const Kernels* avx512_kernels();

}  // namespace espalier
