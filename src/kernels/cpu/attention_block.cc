#include "kernels/cpu/attention_block.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu/cpu_kernel.h"
#include "kernels/cpu/gemm.h"

namespace tenon::kernels::cpu {
namespace {

constexpr int64_t kKeyBlock = 128;
constexpr int kKeyTile = 8;  // keys side by side in the packed left operand of Q K^T

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
  int64_t floats = 0;

  Scratch(const VectorCode& code, float* base, int64_t head_dim) {
    const int64_t width = code.tile_panels * kPanel;
    const int64_t padded = whole_lines(head_dim);
    const auto take = [&](int64_t count) {
      float* part = base == nullptr ? nullptr : base + floats;
      floats += whole_lines(count);
      return part;
    };
    queries = take(kQueryBlock * head_dim);
    keys = take(ceil_div(kKeyBlock, code.tile_rows) * kKeyTile * head_dim);
    values = take(kKeyBlock * padded);
    scores = take(kKeyBlock * width);
    output = take(kQueryBlock * padded);
    maximum = take(kQueryBlock);
    sum = take(kQueryBlock);
    correction = take(width);
  }
};

class Attention {
 public:
  Attention(const VectorCode& code, const AttentionBlock& block, float* workspace)
      : code_(code),
        b_(block),
        most_width_(code.tile_panels * kPanel),
        padded_(whole_lines(block.head_dim)),
        s_(code, workspace, block.head_dim) {}

  void run() const {
    pack_queries();
    std::fill_n(s_.maximum, kQueryBlock, -std::numeric_limits<float>::infinity());
    std::fill_n(s_.sum, kQueryBlock, 0.0f);
    for (int64_t k = 0; k < b_.k.count; k += kKeyBlock) {
      const int64_t keys = std::min(kKeyBlock, b_.k.count - k);
      pack_keys(k, keys);
      pack_panels(b_.v.data + k * b_.v.stride, b_.v.stride, 1, keys, b_.head_dim, s_.values, 0, padded_ / kPanel);
      for (int64_t q = 0; q < b_.q.count; q += most_width_) run_tile(q, std::min(most_width_, b_.q.count - q), k, keys);
    }
    finish();
  }

 private:
  void pack_queries() const {
    for (int64_t q = 0; q < b_.q.count; q += kPanel) {
      code_.transpose_rows(b_.q.data + q * b_.q.stride, b_.q.stride,
                           static_cast<int>(std::min<int64_t>(kPanel, b_.q.count - q)), b_.head_dim, kPanel,
                           s_.queries + q * b_.head_dim);
    }
  }

  void pack_keys(int64_t first, int64_t count) const {
    for (int64_t k = 0; k < count; k += code_.tile_rows) {
      code_.transpose_rows(b_.k.data + (first + k) * b_.k.stride, b_.k.stride,
                           static_cast<int>(std::min<int64_t>(code_.tile_rows, count - k)), b_.head_dim, kKeyTile,
                           s_.keys + k / code_.tile_rows * b_.head_dim * kKeyTile);
    }
  }

  // Queries [q, q + count) against the packed keys [k, k + keys).
  void run_tile(int64_t q, int64_t count, int64_t k, int64_t keys) const {
    const int panels = static_cast<int>(ceil_div(count, kPanel));
    const int64_t width = panels * kPanel;
    for (int64_t i = 0; i < keys; i += code_.tile_rows) {
      code_.gemm({.a = s_.keys + i / code_.tile_rows * b_.head_dim * kKeyTile,
                  .a_stride = kKeyTile,
                  .b = s_.queries + q * b_.head_dim,
                  .b_panel_stride = b_.head_dim * kPanel,
                  .c = s_.scores + i * width,
                  .c_stride = width,
                  .k = b_.head_dim,
                  .rows = static_cast<int>(std::min<int64_t>(code_.tile_rows, keys - i)),
                  .panels = panels});
    }
    const bool plain = b_.visibility.everything();
    if (!plain) bias_and_hide(q, count, width, k, keys);
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

  // Scales the scores, adds the bias, and makes -inf of what is hidden.
  void bias_and_hide(int64_t q, int64_t count, int64_t width, int64_t k, int64_t keys) const {
    const Visibility& v = b_.visibility;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t q_position = v.q_positions == nullptr ? b_.first_query + q + i : v.q_positions[q + i];
      const float* bias = v.bias == nullptr ? nullptr : v.bias + q_position * v.bias_q_stride;
      for (int64_t j = 0; j < keys; ++j) {
        const int64_t k_position = v.k_positions == nullptr ? k + j : v.k_positions[k + j];
        float& score = s_.scores[j * width + i];
        const bool hidden =
            (v.causal && k_position > q_position) ||
            (v.window > 0 && (k_position - q_position > v.window || q_position - k_position > v.window));
        score = hidden ? -std::numeric_limits<float>::infinity()
                       : score * b_.scale + (bias == nullptr ? 0.0f : bias[k_position * v.bias_k_stride]);
      }
    }
  }

  void finish() const {
    for (int64_t q = 0; q < b_.q.count; ++q) {
      float* y = b_.y + q * b_.y_stride;
      if (s_.sum[q] == 0.0f) {  // no key was visible
        std::fill_n(y, b_.head_dim, 0.0f);
        continue;
      }
      std::memcpy(y, s_.output + q * padded_, static_cast<size_t>(b_.head_dim) * sizeof(float));
      code_.scale(y, b_.head_dim, 1.0f / s_.sum[q]);
    }
  }

  const VectorCode& code_;
  const AttentionBlock& b_;
  int64_t most_width_, padded_;
  Scratch s_;
};

}  // namespace

size_t attention_workspace(const VectorCode& code, int64_t head_dim) {
  return static_cast<size_t>(Scratch(code, nullptr, head_dim).floats) * sizeof(float);
}

void attention_block(const VectorCode& code, const AttentionBlock& block, void* workspace) {
  Attention(code, block, static_cast<float*>(workspace)).run();
}

}  // namespace tenon::kernels::cpu
