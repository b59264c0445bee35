// For one token the small operations of a block take longer than its matrices if each is an operator of its own. Here
// all of a half is one region of torch's threads, which wait for each other where one needs what all have made.
#include "block.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cstring>

namespace espalier {
namespace {
using at::Tensor;

constexpr int64_t WEIGHTS_WORTH_A_THREAD = 1 << 17;  // of a whole block
enum { Q, K, V, O, GATE, UP, DOWN, MATRICES };
enum { BEFORE_ATTENTION, BEFORE_MLP, OF_QUERIES, OF_KEYS };

int64_t padded(int64_t size) { return (size + WORD - 1) / WORD * WORD; }

// work(thread, threads, wait) on that many threads at once; wait() returns when all have called it.
template <typename Work>
void together(int64_t threads, const Work& work) {
#ifdef _OPENMP
  if (threads > 1 && !omp_in_parallel()) {
#pragma omp parallel num_threads((int)threads)
    work(omp_get_thread_num(), omp_get_num_threads(), [] {
#pragma omp barrier
    });
    return;
  }
#endif
  work(0, 1, [] {});
}

// Memory that is handed out in pieces, each of whole cache lines. It belongs to the calling thread and grows as needed.
class Memory {
 public:
  explicit Memory(int64_t floats) {
    thread_local std::vector<float> held;
    if ((int64_t)held.size() < floats + WORD) held.resize(floats + WORD);
    next = (float*)(((uintptr_t)held.data() + 63) & ~(uintptr_t)63);
  }
  float* take(int64_t floats) {
    float* piece = next;
    next += padded(floats);
    return piece;
  }

 private:
  float* next;
};

// What a thread needs for itself: products of one row with its share of a matrix.
class alignas(64) Worker {
 public:
  // widest: columns and rows that any matrix has at most.
  Worker(Memory& memory, int64_t widest, const Kernels& kernels)
      : kernels(kernels), low_or_narrow(memory.take(widest)), slab(memory.take(widest)), y(memory.take(widest)) {}

  static int64_t floats(int64_t widest) { return 3 * padded(widest); }

  // Takes x, `columns` floats with room for whole words, for the products that follow.
  void input(float* x, int64_t columns) {
    std::fill(x + columns, x + padded(columns), 0.0f);
    inputs = {1, padded(columns), x, nullptr, nullptr, nullptr, nullptr};
    narrowed = split = false;
  }

  // Rows begin to end of W x, to be read from what it returns until the next product.
  float* multiply(const Matrix& w, int64_t begin, int64_t end) {
    make_ready(w);
    kernels.multiply_few(w, inputs, begin, end, slab, y);
    return y;
  }

 private:
  void make_ready(const Matrix& w) {
    if (kernels.split && w.type == INT8 && !split) {
      uint8_t* high = (uint8_t*)low_or_narrow;
      kernels.split(inputs.wide, inputs.stride, high, high + inputs.stride, &step);
      inputs.high = high, inputs.low = high + inputs.stride, inputs.step = &step;
      split = true, narrowed = false;
    } else if (kernels.narrow && w.type == BF16 && !narrowed) {
      kernels.elementwise(BF16)->narrow(inputs.wide, inputs.stride, low_or_narrow);
      inputs.narrow = (const uint16_t*)low_or_narrow;
      narrowed = true, split = false;
    }
  }

  const Kernels& kernels;
  float *low_or_narrow, *slab, *y;
  Inputs inputs{};
  float step = 0;
  bool narrowed = false, split = false;
};

// The share of `count` that is a thread's.
struct Share {
  int64_t begin, end;
  Share(int64_t count, int64_t thread, int64_t threads)
      : begin(count * thread / threads), end(count * (thread + 1) / threads) {}
};

const void* bias_of(const Packed& matrix, int64_t row) {
  return matrix->bias ? (const char*)matrix->bias->const_data_ptr() + row * matrix->bias->element_size() : nullptr;
}

// One head of a cache [1, heads, count, size].
Rows head_of(const Tensor& cache, int64_t head) {
  int64_t size = cache.element_size();
  return {(const char*)cache.const_data_ptr() + head * cache.stride(1) * size, cache.size(2), cache.size(3), cache.stride(2) * size};
}

Tensor in_rows(const Tensor& cache, const Tensor& x) {
  Tensor typed = cache.to(x.scalar_type());
  return typed.stride(-1) == 1 ? typed : typed.contiguous();
}

}  // namespace

Block::Block(std::vector<Packed> matrices, std::vector<Tensor> norms, c10::optional<Tensor> query_norm,
             c10::optional<Tensor> key_norm, std::vector<double> epsilons, int64_t head_size, double scaling)
    : matrices(std::move(matrices)), query_norm(query_norm), key_norm(key_norm), epsilons(std::move(epsilons)),
      head_size(head_size), scaling(scaling) {
  TORCH_CHECK(this->matrices.size() == MATRICES && norms.size() == 2 && this->epsilons.size() == 4, "a block has 7 matrices");
  norm_before_attention = norms[0], norm_before_mlp = norms[1];
  const auto& m = this->matrices;
  int64_t hidden = norm_before_attention.numel(), heads = m[Q]->rows;
  for (int each : {Q, K, V, GATE, UP}) TORCH_CHECK(m[each]->columns == hidden, "the inputs of a block differ in size");
  TORCH_CHECK(m[O]->rows == hidden && m[DOWN]->rows == hidden && norm_before_mlp.numel() == hidden, "the outputs of a block differ in size");
  TORCH_CHECK(m[O]->columns == heads && m[UP]->rows == m[GATE]->rows && m[DOWN]->columns == m[UP]->rows, "the matrices of a block do not fit");
  TORCH_CHECK(head_size % 2 == 0 && heads % head_size == 0 && m[K]->rows % head_size == 0 && m[K]->rows == m[V]->rows &&
              heads % m[K]->rows == 0, "the heads of a block do not fit");
  for (const auto& norm : {query_norm, key_norm}) TORCH_CHECK(!norm || norm->numel() == head_size, "the norm of a head does not fit");
  for (const auto& matrix : m) weights += matrix->rows * matrix->columns;
}

int64_t Block::threads() const {
  return std::clamp<int64_t>(weights / WEIGHTS_WORTH_A_THREAD, 1, at::get_num_threads());
}

std::tuple<Tensor, Tensor, Tensor> Block::begin(const Tensor& x, const Tensor& cosines, const Tensor& sines) const {
  int64_t hidden = norm_before_attention.numel();
  TORCH_CHECK(x.numel() == hidden && x.is_contiguous() && norm_before_attention.scalar_type() == x.scalar_type(), "not this block's input");
  TORCH_CHECK(cosines.numel() == head_size && sines.numel() == head_size, "rotary embeddings of another size");
  Tensor cosine = cosines.to(x.scalar_type()).contiguous(), sine = sines.to(x.scalar_type()).contiguous();
  const Kernels& kernels = kernels_in_use();
  const Elementwise& small = *kernels.elementwise(type_of(x));
  Tensor made[3];
  for (int each : {Q, K, V}) made[each] = at::empty({1, matrices[each]->rows / head_size, 1, head_size}, x.options());
  int64_t heads = made[Q].size(1), all_heads = heads + 2 * made[K].size(1), widest = std::max(hidden, heads * head_size);
  int64_t count = threads();
  Memory memory(count * (Worker::floats(widest) + 2 * padded(hidden) + padded(head_size)));
  std::vector<Worker> workers;
  std::vector<float*> own;
  for (int64_t each = 0; each < count; each++) {
    workers.emplace_back(memory, widest, kernels);
    own.push_back(memory.take(2 * padded(hidden)));
  }
  Matrix views[3] = {matrices[Q]->view(), matrices[K]->view(), matrices[V]->view()};
  together(count, [&](int64_t thread, int64_t threads, auto) {
    Worker& worker = workers[thread];
    float *wide = own[thread], *normed = wide + padded(hidden);
    small.widen(x.const_data_ptr(), hidden, wide);
    small.normalise(wide, norm_before_attention.const_data_ptr(), (float)epsilons[BEFORE_ATTENTION], hidden, normed);
    worker.input(normed, hidden);
    Share share(all_heads, thread, threads);
    int64_t first = 0;  // of this matrix, among the heads of all three
    for (int each : {Q, K, V}) {
      int64_t begin = std::max(share.begin - first, (int64_t)0), end = std::min(share.end - first, made[each].size(1));
      first += made[each].size(1);
      if (begin >= end) continue;
      float* y = worker.multiply(views[each], begin * head_size, end * head_size);
      small.round(y, bias_of(matrices[each], begin * head_size), (end - begin) * head_size, y);
      for (int64_t head = begin; head < end && each != V; head++) {
        float* one = y + (head - begin) * head_size;
        const auto& norm = each == Q ? query_norm : key_norm;
        if (norm) small.normalise(one, norm->const_data_ptr(), (float)epsilons[each == Q ? OF_QUERIES : OF_KEYS], head_size, one);
        small.rotate(cosine.const_data_ptr(), sine.const_data_ptr(), head_size, one);
      }
      char* out = (char*)made[each].mutable_data_ptr() + begin * head_size * x.element_size();
      small.narrow(y, (end - begin) * head_size, out);
    }
  });
  return {made[Q], made[K], made[V]};
}

Tensor Block::finish(const Tensor& x, const Tensor& query, const Tensor& keys, const Tensor& values) const {
  int64_t hidden = norm_before_mlp.numel(), inner = matrices[UP]->rows, heads = matrices[Q]->rows / head_size;
  int64_t shared = matrices[Q]->rows / matrices[K]->rows;  // queries to a key
  for (const Tensor& cache : {keys, values})
    TORCH_CHECK(cache.dim() == 4 && cache.size(0) == 1 && cache.size(1) * shared == heads && cache.size(3) == head_size &&
                cache.size(2) == keys.size(2) && cache.size(2) > 0, "keys or values of another shape");
  TORCH_CHECK(x.numel() == hidden && x.is_contiguous() && query.numel() == heads * head_size && query.is_contiguous() &&
              query.scalar_type() == x.scalar_type(), "not this block's input");
  Tensor key_rows = in_rows(keys, x), value_rows = in_rows(values, x);
  const Kernels& kernels = kernels_in_use();
  const Elementwise& small = *kernels.elementwise(type_of(x));
  Tensor y = at::empty(x.sizes(), x.options());
  int64_t widest = std::max({hidden, inner, heads * head_size}), size = keys.size(2), count = threads();
  Memory memory(2 * padded(hidden) + padded(inner) + padded(heads * head_size) +
                count * (Worker::floats(widest) + padded(size) + padded(widest) + padded(head_size)));
  float *residual = memory.take(hidden), *attended = memory.take(heads * head_size), *gated = memory.take(inner), *out = memory.take(hidden);
  std::vector<Worker> workers;
  std::vector<float*> scores, own;
  for (int64_t each = 0; each < count; each++) {
    workers.emplace_back(memory, widest, kernels);
    scores.push_back(memory.take(size));
    own.push_back(memory.take(widest));
  }
  Matrix project = matrices[O]->view(), gate = matrices[GATE]->view(), up = matrices[UP]->view(), down = matrices[DOWN]->view();
  together(count, [&](int64_t thread, int64_t threads, auto wait) {
    Worker& worker = workers[thread];
    float* mine = own[thread];  // each thread's copy of what all have made, padded where it must be
    Share of_heads(heads, thread, threads), of_hidden(hidden, thread, threads), of_inner(inner, thread, threads);
    for (int64_t head = of_heads.begin; head < of_heads.end; head++) {
      int64_t at = head * head_size;
      small.widen((const char*)query.const_data_ptr() + at * query.element_size(), head_size, mine);
      small.attend(mine, head_of(key_rows, head / shared), head_of(value_rows, head / shared), (float)scaling, scores[thread], attended + at);
    }
    wait();
    int64_t begin = of_hidden.begin, length = of_hidden.end - begin;
    std::copy(attended, attended + heads * head_size, mine);
    worker.input(mine, heads * head_size);
    float* made = worker.multiply(project, begin, of_hidden.end);
    small.round(made, bias_of(matrices[O], begin), length, made);
    small.widen((const char*)x.const_data_ptr() + begin * x.element_size(), length, residual + begin);
    small.add(made, length, residual + begin);
    wait();
    small.normalise(residual, norm_before_mlp.const_data_ptr(), (float)epsilons[BEFORE_MLP], hidden, mine);
    worker.input(mine, hidden);
    float* gates = gated + of_inner.begin;
    made = worker.multiply(gate, of_inner.begin, of_inner.end);
    small.round(made, bias_of(matrices[GATE], of_inner.begin), of_inner.end - of_inner.begin, gates);
    made = worker.multiply(up, of_inner.begin, of_inner.end);
    small.round(made, bias_of(matrices[UP], of_inner.begin), of_inner.end - of_inner.begin, made);
    small.gate(made, of_inner.end - of_inner.begin, gates);
    wait();
    std::copy(gated, gated + inner, mine);
    worker.input(mine, inner);
    made = worker.multiply(down, begin, of_hidden.end);
    small.round(made, bias_of(matrices[DOWN], begin), length, out + begin);
    small.add(residual + begin, length, out + begin);
    small.narrow(out + begin, length, (char*)y.mutable_data_ptr() + begin * y.element_size());
  });
  return y;
}

}  // namespace espalier
