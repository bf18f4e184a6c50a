// Attention of a block by products of bf16 (AVX512-BF16, AMX), softmax and sums in f32.
//
//   S [queries][keys] = Q K^T      Q as it lies, K transposed by pairs of elements
//   P = softmax(S), rounded to bf16 as it is stored
//   O [queries][head_dim] += P V   V with rows in pairs
//
// Queries come a register tile at a time, so S and P stay in the first-level cache.
#include <algorithm>
#include <limits>

#include "kernels/cpu/attention_block.h"
#include "kernels/cpu/cpu_kernel.h"
#include "kernels/cpu/prefetch.h"

namespace tenon::kernels::cpu {
namespace {

// Bytes of a row of weights: one line more than its elements, so that rows do not meet in few sets of the cache.
constexpr int64_t kWeightStride = kKeyBlock * 2 + 64;

// The scratch of one thread, cut into parts.
struct Bf16Scratch {
  std::byte* keys = nullptr;     // panels of 16 keys [head_dim / 2][16][2]
  std::byte* values = nullptr;   // panels of 16 columns [keys / 2][16][2]
  std::byte* weights = nullptr;  // [tile's queries], kWeightStride apart
  float* scores = nullptr;       // [tile's queries][kKeyBlock]
  float* product = nullptr;      // [tile's queries][head_dim]
  float* output = nullptr;       // [queries][head_dim], not yet divided
  float* maximum = nullptr;      // [queries]
  float* sum = nullptr;          // [queries]
  float* correction = nullptr;   // [tile's queries]
  size_t bytes = 0;

  Bf16Scratch(const VectorCode& code, std::byte* base, int64_t head_dim, int64_t queries) {
    const auto take = [&]<class T>(T*& part, int64_t count) {
      part = base == nullptr ? nullptr : reinterpret_cast<T*>(base + bytes);
      bytes += static_cast<size_t>(whole_lines(ceil_div(count * static_cast<int64_t>(sizeof(T)), 4))) * 4;
    };
    take(keys, kKeyBlock * head_dim * 2);
    take(values, kKeyBlock * head_dim * 2);
    take(weights, code.bf16.rows * kWeightStride);
    take(scores, code.bf16.rows * kKeyBlock);
    take(product, code.bf16.rows * head_dim);
    take(output, queries * head_dim);
    take(maximum, queries);
    take(sum, queries);
    take(correction, code.bf16.rows);
  }
};

class Bf16Attention {
 public:
  Bf16Attention(const VectorCode& code, const AttentionBlock& block, std::byte* workspace)
      : code_(code),
        dot_(code.bf16),
        b_(block),
        dim_(block.head_dim),
        s_(code, workspace, block.head_dim, block.q.count) {}

  void run() const {
    if (dot_.begin != nullptr) dot_.begin();
    std::fill_n(s_.maximum, b_.q.count, -std::numeric_limits<float>::infinity());
    std::fill_n(s_.sum, b_.q.count, 0.0f);
    for (int64_t k = 0; k < b_.k.count; k += kKeyBlock) {
      const int64_t keys = std::min(kKeyBlock, b_.k.count - k);
      prefetch_rows(row(b_.v, k), b_.v.stride * 2, keys, dim_ * 2);
      pack_keys(k, keys);
      if (k == 0) prefetch_rows(row(b_.q, 0), b_.q.stride * 2, b_.q.count, dim_ * 2);
      code_.pack_pairs(row(b_.v, k), b_.v.stride, keys, dim_, groups_of(keys), s_.values);
      const bool is_last = k + keys == b_.k.count;
      for (int64_t q = 0; q < b_.q.count; q += dot_.rows) {
        const int64_t count = std::min<int64_t>(dot_.rows, b_.q.count - q);
        if (is_last) prefetch_rows_to_write(result(q), b_.y_stride * 2, count, dim_ * 2);
        run_tile(q, count, k, keys);
      }
    }
    if (dot_.end != nullptr) dot_.end();
    finish();
  }

 private:
  static const uint16_t* row(const HeadRows& rows, int64_t i) {
    return static_cast<const uint16_t*>(rows.data) + i * rows.stride;
  }
  uint16_t* result(int64_t q) const { return static_cast<uint16_t*>(b_.y) + q * b_.y_stride; }
  // Pairs of keys, up to whole tiles of AMX.
  static int64_t groups_of(int64_t keys) { return ceil_div(keys, 2 * kGroupStep) * kGroupStep; }

  // A pair of elements is moved as if it were one f32. Keys that are missing in the last panel repeat the last one;
  // their scores are not looked at.
  void pack_keys(int64_t first, int64_t count) const {
    for (int64_t k = 0; k < count; k += kPanel) {
      code_.transpose_rows(reinterpret_cast<const float*>(row(b_.k, first + k)), b_.k.stride / 2,
                           static_cast<int>(std::min<int64_t>(kPanel, count - k)), dim_ / 2, kPanel,
                           reinterpret_cast<float*>(s_.keys + k * dim_ * 2));
    }
  }

  // C [rows][16 * panels] = A times so many panels of B.
  void multiply(const std::byte* a, int64_t a_stride, int64_t rows, const std::byte* b, int64_t groups, int64_t panels,
                float* c, int64_t c_stride) const {
    const int64_t panel_bytes = groups * kPanel * 4;
    for (int64_t p = 0; p < panels; p += dot_.panels) {
      dot_.tile({.a = a,
                 .a_stride = a_stride,
                 .b = b + p * panel_bytes,
                 .b_panel_stride = panel_bytes,
                 .c = c + p * kPanel,
                 .c_stride = c_stride,
                 .groups = groups,
                 .rows = static_cast<int>(rows),
                 .panels = static_cast<int>(std::min<int64_t>(dot_.panels, panels - p))});
    }
  }

  // Queries [q, q + count) against the packed keys [k, k + keys).
  void run_tile(int64_t q, int64_t count, int64_t k, int64_t keys) const {
    multiply(reinterpret_cast<const std::byte*>(row(b_.q, q)), b_.q.stride * 2, count, s_.keys, dim_ / 2,
             ceil_div(keys, kPanel), s_.scores, kKeyBlock);
    const bool plain = b_.visibility.everything();
    if (!plain) bias_and_hide(b_, q, count, k, keys, s_.scores, kKeyBlock, 1);
    const int64_t groups = groups_of(keys);
    code_.softmax_rows({.scores = s_.scores,
                        .score_stride = kKeyBlock,
                        .rows = count,
                        .keys = keys,
                        .scale = plain ? b_.scale : 1.0f,
                        .maximum = s_.maximum + q,
                        .sum = s_.sum + q,
                        .correction = s_.correction,
                        .weights = reinterpret_cast<uint16_t*>(s_.weights),
                        .weight_stride = kWeightStride / 2,
                        .padded = 2 * groups});
    float* output = s_.output + q * dim_;
    multiply(s_.weights, kWeightStride, count, s_.values, groups, dim_ / kPanel, k == 0 ? output : s_.product, dim_);
    if (k == 0) return;
    for (int64_t i = 0; i < count; ++i) {
      code_.scale(output + i * dim_, dim_, s_.correction[i]);
      code_.add_scaled(output + i * dim_, s_.product + i * dim_, dim_, 1.0f);
    }
  }

  void finish() const {
    for (int64_t q = 0; q < b_.q.count; ++q) {
      uint16_t* to = result(q);
      // No sum: no key was visible.
      if (s_.sum[q] == 0.0f)
        std::fill_n(to, dim_, uint16_t{0});
      else
        code_.round_sums(s_.output + q * dim_, dim_, 1.0f / s_.sum[q], to);
    }
  }

  const VectorCode& code_;
  const DotCode& dot_;
  const AttentionBlock& b_;
  int64_t dim_;
  Bf16Scratch s_;
};

}  // namespace

bool has_bf16_attention(const VectorCode& code, int64_t head_dim) {
  return code.bf16.tile != nullptr && head_dim % (2 * kGroupStep) == 0;
}

size_t attention_workspace_bf16(const VectorCode& code, int64_t head_dim, int64_t queries) {
  return Bf16Scratch(code, nullptr, head_dim, queries).bytes;
}

void attention_block_bf16(const VectorCode& code, const AttentionBlock& block, void* workspace) {
  Bf16Attention(code, block, static_cast<std::byte*>(workspace)).run();
}

}  // namespace tenon::kernels::cpu
