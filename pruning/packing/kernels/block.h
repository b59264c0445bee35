// A decoder block of the Llama kind for one token: two calls, between which the keys and values go through the cache.
#pragma once

#include <tuple>
#include <vector>

#include "packed.h"

namespace espalier {

// x + o(attention(q, k, v of norm(x))), and of that h: h + down(SiLU(gate(norm(h))) * up(norm(h))).
struct Block : torch::CustomClassHolder {
  // matrices: q, k, v, o, gate, up, down. norms: the weights before attention and before the MLP. query_norm and
  // key_norm: those of each head, if it has any. epsilons: of the four. scaling: of the scores.
  Block(std::vector<Packed> matrices, std::vector<at::Tensor> norms, c10::optional<at::Tensor> query_norm,
        c10::optional<at::Tensor> key_norm, std::vector<double> epsilons, int64_t head_size, double scaling);

  // x [1, 1, hidden] to the rotated query and key and the value, each [1, heads, 1, head_size].
  std::tuple<at::Tensor, at::Tensor, at::Tensor> begin(const at::Tensor& x, const at::Tensor& cosines,
                                                       const at::Tensor& sines) const;

  // The block's output [1, 1, hidden] of its input, the query and all keys and values [1, heads, count, head_size].
  at::Tensor finish(const at::Tensor& x, const at::Tensor& query, const at::Tensor& keys, const at::Tensor& values) const;

 private:
  int64_t threads() const;

  std::vector<Packed> matrices;
  at::Tensor norm_before_attention, norm_before_mlp;
  c10::optional<at::Tensor> query_norm, key_norm;
  std::vector<double> epsilons;
  int64_t head_size;
  double scaling;
  int64_t weights = 0;
};

}  // namespace espalier
