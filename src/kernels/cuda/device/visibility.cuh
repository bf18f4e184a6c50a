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

TENON_DEVICE float bias_at(const AttentionArgs& a, int64_t index) {
  if constexpr (BIAS == 2) return static_cast<const float*>(a.bias)[index];
  return to_float(static_cast<const ELEMENT*>(a.bias)[index]);
}

// The score q . k with all that belongs to it, in units of log 2; -inf where the key is hidden from the query.
TENON_DEVICE float visible_score(const AttentionArgs& a, const Sequence& s, int head, int q_position, int key,
                                 float product) {
  if (key >= s.k_end) return minus_infinity();
  float score = product * (a.scale * kLog2E);
  if constexpr (CAUSAL != 0 || WINDOW != 0 || BIAS != 0) {
    const int k_position = a.k_positions != nullptr ? a.k_positions[key] : key - s.k_begin;
    if (CAUSAL != 0 && k_position > q_position) return minus_infinity();
    if (WINDOW != 0 && abs(k_position - q_position) > WINDOW) return minus_infinity();
    if (BIAS != 0 && q_position >= 0) {
      score += kLog2E * bias_at(a, s.index * a.bias_strides[0] + head * a.bias_strides[1] +
                                       q_position * a.bias_strides[2] + k_position * a.bias_strides[3]);
    }
  }
  return score;
}
