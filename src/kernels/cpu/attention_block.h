// Attention of a block of query rows of one head over all keys of its sequence, in blocks of keys that fit the caches:
// the scores of a whole sequence never exist at once.
//
// In f32 scores are held transposed, S^T [keys][queries]: queries are vector lanes, so the softmax needs no sums across
// lanes, and S^T is at once the packed left operand of P V. Products of bf16 (attention_block_bf16.cc) read queries
// where they lie. A query's result depends on its own row and its sequence's keys only; blocks of keys start at the
// sequence's first key, so neither neighbours nor threads change a bit.
#pragma once

#include <cstddef>

#include "kernels/cpu/vector_code.h"

namespace tenon::kernels::cpu {

inline constexpr int64_t kKeyBlock = 128;
// Rows of one task, where nothing else is said: keys and values are packed once for all of them.
inline constexpr int64_t kQueryBlock = 192;

// Rows of one head: row i stands `i * stride` elements behind data, head_dim elements.
struct HeadRows {
  const void* data = nullptr;
  int64_t stride = 0;
  int64_t count = 0;
};

// Who sees whom, by position. Positions are the row's index where `q` or `k` is null.
struct Visibility {
  const int32_t* q_positions = nullptr;
  const int32_t* k_positions = nullptr;
  const float* bias = nullptr;  // element (q, k) at bias[q * q_stride + k * k_stride]
  int64_t bias_q_stride = 0, bias_k_stride = 0;
  bool causal = false;
  int64_t window = 0;  // 0: none

  bool everything() const { return bias == nullptr && !causal && window == 0; }
};

struct AttentionBlock {
  HeadRows q, k, v;
  int64_t first_query = 0;  // index of q's first row within its sequence
  int64_t head_dim = 0;
  float scale = 1;
  Visibility visibility;
  void* y = nullptr;  // as q
  int64_t y_stride = 0;
  bool bf16 = false;  // q, k, v and y, else f32
};

// Scales the scores of queries [q, q + count) with keys [k, k + keys), adds the bias, and makes -inf of what is hidden.
// The score of query q + i and key k + j stands at scores[i * q_stride + j * k_stride].
void bias_and_hide(const AttentionBlock& block, int64_t q, int64_t count, int64_t k, int64_t keys, float* scores,
                   int64_t q_stride, int64_t k_stride);

// Bytes of scratch for one thread and blocks of at most so many queries.
size_t attention_workspace(const VectorCode& code, int64_t head_dim, int64_t queries, bool bf16);
void attention_block(const VectorCode& code, const AttentionBlock& block, void* workspace);

// The same by products of bf16, where the instruction set has them and the heads fit.
bool has_bf16_attention(const VectorCode& code, int64_t head_dim);
size_t attention_workspace_bf16(const VectorCode& code, int64_t head_dim, int64_t queries);
void attention_block_bf16(const VectorCode& code, const AttentionBlock& block, void* workspace);

}  // namespace tenon::kernels::cpu
