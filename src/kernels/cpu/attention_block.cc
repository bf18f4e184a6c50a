#include "kernels/cpu/attention_block.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu/cpu_kernel.h"
#include "kernels/cpu/gemm.h"

namespace tenon::kernels::cpu {
namespace {

// The scratch of one thread, cut into parts.
struct Scratch {
  float* queries = nullptr;     // panels of 16 queries [head_dim][16]
  float* keys = nullptr;        // tiles [head_dim][8]
  float* values = nullptr;      // panels [keys][16]
  float* scores = nullptr;      // [keys][width]
  float* output = nullptr;      // [queries][padded head_dim], not yet divided
  float* maximum = nullptr;     // [queries]
  float* sum = nullptr;         // [queries]
  float* correction = nullptr;  // [width]
  float* widened = nullptr;     // rows of bf16 [keys][head_dim]
  int64_t floats = 0;

  Scratch(const VectorCode& code, float* base, int64_t head_dim, int64_t most_queries, bool bf16) {
    const int64_t width = code.tile_panels * kPanel, rows = whole_lines(most_queries);
    const int64_t padded = whole_lines(head_dim);
    const auto take = [&](int64_t count) {
      float* part = base == nullptr ? nullptr : base + floats;
      floats += whole_lines(count);
      return part;
    };
    queries = take(rows * head_dim);
    keys = take(ceil_div(kKeyBlock, code.tile_rows) * kPackWidth * head_dim);
    values = take(kKeyBlock * padded);
    scores = take(kKeyBlock * width);
    output = take(rows * padded);
    maximum = take(rows);
    sum = take(rows);
    correction = take(width);
    if (bf16) widened = take(kKeyBlock * head_dim);
  }
};

class Attention {
 public:
  Attention(const VectorCode& code, const AttentionBlock& block, float* workspace)
      : code_(code),
        b_(block),
        most_width_(code.tile_panels * kPanel),
        padded_(whole_lines(block.head_dim)),
        s_(code, workspace, block.head_dim, block.q.count, block.bf16) {}

  void run() const {
    pack_queries();
    std::fill_n(s_.maximum, whole_lines(b_.q.count), -std::numeric_limits<float>::infinity());
    std::fill_n(s_.sum, whole_lines(b_.q.count), 0.0f);
    for (int64_t k = 0; k < b_.k.count; k += kKeyBlock) {
      const int64_t keys = std::min(kKeyBlock, b_.k.count - k);
      pack_keys(k, keys);
      const Floats v = floats_of(b_.v, k, keys);
      pack_panels(v.data, v.stride, 1, keys, b_.head_dim, s_.values, 0, padded_ / kPanel);
      for (int64_t q = 0; q < b_.q.count; q += most_width_) run_tile(q, std::min(most_width_, b_.q.count - q), k, keys);
    }
    finish();
  }

 private:
  struct Floats {
    const float* data = nullptr;
    int64_t stride = 0;
  };
  // Rows [first, first + count), at most kKeyBlock; those of bf16 stand widened until the next call.
  Floats floats_of(const HeadRows& rows, int64_t first, int64_t count) const {
    if (!b_.bf16) return {static_cast<const float*>(rows.data) + first * rows.stride, rows.stride};
    for (int64_t i = 0; i < count; ++i) {
      const auto* row = static_cast<const uint16_t*>(rows.data) + (first + i) * rows.stride;
      code_.widen(row, b_.head_dim, s_.widened + i * b_.head_dim);
    }
    return {s_.widened, b_.head_dim};
  }

  void pack_queries() const {
    for (int64_t q = 0; q < b_.q.count; q += kPanel) {
      const int64_t count = std::min<int64_t>(kPanel, b_.q.count - q);
      const Floats rows = floats_of(b_.q, q, count);
      code_.transpose_rows(rows.data, rows.stride, static_cast<int>(count), b_.head_dim, kPanel,
                           s_.queries + q * b_.head_dim);
    }
  }

  void pack_keys(int64_t first, int64_t count) const {
    const Floats rows = floats_of(b_.k, first, count);
    for (int64_t k = 0; k < count; k += code_.tile_rows) {
      code_.transpose_rows(rows.data + k * rows.stride, rows.stride,
                           static_cast<int>(std::min<int64_t>(code_.tile_rows, count - k)), b_.head_dim, kPackWidth,
                           s_.keys + k / code_.tile_rows * b_.head_dim * kPackWidth);
    }
  }

  // Queries [q, q + count) against the packed keys [k, k + keys).
  void run_tile(int64_t q, int64_t count, int64_t k, int64_t keys) const {
    const int panels = static_cast<int>(ceil_div(count, kPanel));
    const int64_t width = panels * kPanel;
    for (int64_t i = 0; i < keys; i += code_.tile_rows) {
      code_.gemm({.a = s_.keys + i / code_.tile_rows * b_.head_dim * kPackWidth,
                  .a_stride = kPackWidth,
                  .b = s_.queries + q * b_.head_dim,
                  .b_panel_stride = b_.head_dim * kPanel,
                  .c = s_.scores + i * width,
                  .c_stride = width,
                  .k = b_.head_dim,
                  .rows = static_cast<int>(std::min<int64_t>(code_.tile_rows, keys - i)),
                  .panels = panels});
    }
    const bool plain = b_.visibility.everything();
    if (!plain) bias_and_hide(b_, q, count, k, keys, s_.scores, 1, width);
    code_.softmax_block({.scores = s_.scores,
                         .keys = keys,
                         .width = width,
                         .scale = plain ? b_.scale : 1.0f,
                         .maximum = s_.maximum + q,
                         .sum = s_.sum + q,
                         .correction = s_.correction});
    if (k > 0) {
      for (int64_t i = 0; i < count; ++i)
        if (s_.correction[i] != 1.0f) code_.scale(s_.output + (q + i) * padded_, padded_, s_.correction[i]);
    }
    const int64_t value_panels = padded_ / kPanel;
    for (int64_t p = 0; p < value_panels; p += code_.tile_panels) {
      for (int64_t i = 0; i < count; i += code_.tile_rows) {
        code_.gemm({.a = s_.scores + i,
                    .a_stride = width,
                    .b = s_.values + p * keys * kPanel,
                    .b_panel_stride = keys * kPanel,
                    .c = s_.output + (q + i) * padded_ + p * kPanel,
                    .c_stride = padded_,
                    .k = keys,
                    .rows = static_cast<int>(std::min<int64_t>(code_.tile_rows, count - i)),
                    .panels = static_cast<int>(std::min<int64_t>(code_.tile_panels, value_panels - p)),
                    .accumulate = k > 0});
      }
    }
  }

  void finish() const {
    for (int64_t q = 0; q < b_.q.count; ++q) {
      float* from = s_.output + q * padded_;
      const bool sees_keys = s_.sum[q] != 0.0f;
      if (!sees_keys) std::fill_n(from, b_.head_dim, 0.0f);
      const float factor = sees_keys ? 1.0f / s_.sum[q] : 1.0f;
      if (b_.bf16) {
        code_.round_sums(from, b_.head_dim, factor, static_cast<uint16_t*>(b_.y) + q * b_.y_stride);
      } else {
        code_.scale(from, b_.head_dim, factor);
        std::memcpy(static_cast<float*>(b_.y) + q * b_.y_stride, from,
                    static_cast<size_t>(b_.head_dim) * sizeof(float));
      }
    }
  }

  const VectorCode& code_;
  const AttentionBlock& b_;
  int64_t most_width_, padded_;
  Scratch s_;
};

}  // namespace

void bias_and_hide(const AttentionBlock& block, int64_t q, int64_t count, int64_t k, int64_t keys, float* scores,
                   int64_t q_stride, int64_t k_stride) {
  const Visibility& v = block.visibility;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t q_position = v.q_positions == nullptr ? block.first_query + q + i : v.q_positions[q + i];
    const float* bias = v.bias == nullptr ? nullptr : v.bias + q_position * v.bias_q_stride;
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t k_position = v.k_positions == nullptr ? k + j : v.k_positions[k + j];
      float& score = scores[i * q_stride + j * k_stride];
      const bool hidden = (v.causal && k_position > q_position) ||
                          (v.window > 0 && (k_position - q_position > v.window || q_position - k_position > v.window));
      score = hidden ? -std::numeric_limits<float>::infinity()
                     : score * block.scale + (bias == nullptr ? 0.0f : bias[k_position * v.bias_k_stride]);
    }
  }
}

size_t attention_workspace(const VectorCode& code, int64_t head_dim, int64_t queries, bool bf16) {
  if (bf16 && has_bf16_attention(code, head_dim)) return attention_workspace_bf16(code, head_dim, queries);
  return static_cast<size_t>(Scratch(code, nullptr, head_dim, queries, bf16).floats) * sizeof(float);
}

void attention_block(const VectorCode& code, const AttentionBlock& block, void* workspace) {
  if (block.bf16 && has_bf16_attention(code, block.head_dim)) return attention_block_bf16(code, block, workspace);
  Attention(code, block, static_cast<float*>(workspace)).run();
}

}  // namespace tenon::kernels::cpu
