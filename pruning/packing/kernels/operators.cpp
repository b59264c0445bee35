// The operators and classes that Python sees, with the instruction set chosen where they run.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "block.h"
#include "packed.h"

namespace espalier {
namespace {
using at::Tensor;

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

const Kernels& kernels_in_use() { return *chosen; }

TORCH_LIBRARY_FRAGMENT(espalier, library) {
  using MaybeTensor = c10::optional<Tensor>;
  library.class_<PackedMatrix>("PackedMatrix")
      .def(torch::init<Tensor, MaybeTensor, MaybeTensor, MaybeTensor, MaybeTensor, int64_t, int64_t, int64_t, int64_t>());
  library.class_<Block>("Block")
      .def(torch::init<std::vector<Packed>, std::vector<Tensor>, MaybeTensor, MaybeTensor, std::vector<double>, int64_t, double>())
      .def("begin", &Block::begin)
      .def("finish", &Block::finish);
  library.def(
      "linear(Tensor x, __torch__.torch.classes.espalier.PackedMatrix matrix) -> Tensor",
      torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd, &linear));
  library.def("read(Tensor words) -> int", &read_words);
  library.def("use_kernels(str most) -> str", &use_kernels);
}

}  // namespace espalier
