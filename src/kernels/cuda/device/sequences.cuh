// Which sequences a tile of packed query rows meets.
#pragma once

#include "attention_args.cuh"
#include "base.cuh"

// The rows of queries and of keys that attend to each other; `index` in the batch.
struct Sequence {
  int q_begin, q_end, k_begin, k_end, index;
};

TENON_DEVICE Sequence uniform(const Sequence& s) {
  return {uniform(s.q_begin), uniform(s.q_end), uniform(s.k_begin), uniform(s.k_end), uniform(s.index)};
}

TENON_DEVICE Sequence read_sequence(const AttentionArgs& a, int b) {
  if (a.q_offsets == nullptr) return {b * a.q_len, (b + 1) * a.q_len, b * a.k_len, (b + 1) * a.k_len, b};
  return {a.q_offsets[b], a.q_offsets[b + 1], a.k_begin[b], a.k_end[b], b};
}

// The sequences with query rows among `begin` .. `end` (kRows at most), in shared memory.
template <int kRows>
struct MetSequences {
  int count;
  // Rows of the tile before first_row and from last_row on belong to no sequence: they precede the first or follow the
  // last.
  int first_row, last_row;
  Sequence sequences[kRows];

  // By the lanes of one warp; the rest of the block reads after the next barrier. Each lane looks at a place of its
  // own, so that memory is waited for once per 32 sequences, not once per step of a binary search.
  TENON_DEVICE void collect(const AttentionArgs& a, int begin, int end) {
    constexpr unsigned kAllLanes = 0xffffffffu;
    const int lane = static_cast<int>(threadIdx.x % 32);
    int first = 0, candidates = a.batch;  // the first one that ends behind `begin` is among these, or behind them
    while (candidates > 32) {
      const int step = (candidates + 31) / 32, last = min((lane + 1) * step, candidates) - 1;
      const bool passed = read_sequence(a, first + last).q_end <= begin;  // ends ascend: so the first lanes
      const int skipped = min(__popc(__ballot_sync(kAllLanes, passed)) * step, candidates);
      first += skipped;
      candidates = min(step, candidates - skipped);
    }
    int found = 0;
    for (bool more = true; more; first += 32) {
      Sequence s = {end, end, 0, 0, 0};
      if (first + lane < a.batch) s = read_sequence(a, first + lane);
      const unsigned met = __ballot_sync(kAllLanes, s.q_end > begin && s.q_begin < end && s.q_begin < s.q_end);
      if (met >> lane & 1) sequences[found + __popc(met & ((1u << lane) - 1))] = s;
      found += __popc(met);
      more = __ballot_sync(kAllLanes, s.q_begin >= end) == 0;
    }
    __syncwarp();
    if (lane == 0) {
      count = found;
      first_row = found == 0 ? end : min(max(sequences[0].q_begin, begin), end);
      last_row = found == 0 ? end : min(sequences[found - 1].q_end, end);
    }
  }
};
