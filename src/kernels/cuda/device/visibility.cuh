// Which keys a query sees, and the bias between them, by their places in the original sequence.
//
// Macros: ELEMENT, CAUSAL (0, 1), WINDOW (0: none), BIAS (0: none, 1: as q, 2: f32).
#pragma once

#include "half.cuh"
#include "sequences.cuh"
#include "softmax.cuh"

// Of a row of queries; -1 for rows of other sequences, which have no place in this one.
TENON_DEVICE int query_position(const AttentionArgs& a, const Sequence& s, int row) {
  if (row < s.q_begin || row >= s.q_end) return -1;
  return a.q_positions != nullptr ? a.q_positions[row] : row - s.q_begin;
}

// The bias of one query, by places of keys. Rows of other sequences read something of this one: loads without branches
// go out together.
class BiasRow {
 public:
  TENON_DEVICE BiasRow(const AttentionArgs& a, const Sequence& s, int head, int q_position)
      : step_(static_cast<int>(a.bias_strides[3])) {
    const int64_t first =
        s.index * a.bias_strides[0] + head * a.bias_strides[1] + max(q_position, 0) * a.bias_strides[2];
    data_ = static_cast<const char*>(a.bias) + first * kSize;
  }
  // In units of log 2.
  TENON_DEVICE float at(int k_position) const {
    if constexpr (BIAS == 0) return 0.f;
    const char* data = data_ + k_position * step_ * kSize;
    if constexpr (BIAS == 2) return kLog2E * *reinterpret_cast<const float*>(data);
    return kLog2E * to_float(*reinterpret_cast<const ELEMENT*>(data));
  }

 private:
  static constexpr int kSize = BIAS == 2 ? sizeof(float) : sizeof(ELEMENT);
  const char* data_;
  int step_;
};

// Of a key; behind the sequence's last, which must have one, the place of that.
TENON_DEVICE int key_position(const AttentionArgs& a, const Sequence& s, int key) {
  if constexpr (CAUSAL == 0 && WINDOW == 0 && BIAS == 0) return 0;
  const int k = min(key, s.k_end - 1);
  return a.k_positions != nullptr ? a.k_positions[k] : k - s.k_begin;
}

// The score q . k with all that belongs to it, in units of log 2; -inf where the key is hidden from the query.
TENON_DEVICE float visible_score(const AttentionArgs& a, const Sequence& s, int q_position, int key, int k_position,
                                 float product, float bias) {
  if (key >= s.k_end) return minus_infinity();
  if (CAUSAL != 0 && k_position > q_position) return minus_infinity();
  if (WINDOW != 0 && abs(k_position - q_position) > WINDOW) return minus_infinity();
  return product * (a.scale * kLog2E) + bias;
}
TENON_DEVICE float visible_score(const AttentionArgs& a, const Sequence& s, int head, int q_position, int key,
                                 float product) {
  const int k_position = key_position(a, s, key);
  return visible_score(a, s, q_position, key, k_position, product, BiasRow(a, s, head, q_position).at(k_position));
}
