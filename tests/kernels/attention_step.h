// Steps of attention, over dense rows and over sequences packed in one matrix.
#pragma once

#include <cmath>

#include "tests/kernels/run_kernel.h"

namespace tenon::test {

struct AttentionCase {
  DType dtype = DType::kF32;
  int64_t heads = 1, kv_heads = 0, head_dim = 64;
  bool causal = false;
  int64_t window = 0;
  int64_t shared_kv() const { return kv_heads == 0 ? heads : kv_heads; }
  Attrs attrs(std::vector<int64_t> columns = {0, 0, 0}) const {
    return {{"heads", heads},
            {"kv_heads", kv_heads},
            {"head_dim", head_dim},
            {"columns", std::move(columns)},
            {"scale", 1.0 / std::sqrt(static_cast<double>(head_dim))},
            {"causal", int64_t{causal}},
            {"window", window}};
  }
};

inline Step dense(Random& random, const AttentionCase& c, int64_t batch, int64_t q_len, int64_t k_len) {
  const int64_t width = c.shared_kv() * c.head_dim;
  return {Op::k_attention,
          {random.tensor(c.dtype, {batch, q_len, c.heads * c.head_dim}), random.tensor(c.dtype, {batch, k_len, width}),
           random.tensor(c.dtype, {batch, k_len, width})},
          c.attrs()};
}

// Where sequences of these lengths lie. `hidden`: the first rows of each are queries only; `surplus` rows follow the
// last.
struct Packing {
  std::vector<int64_t> lengths;
  int64_t hidden = 0, surplus = 0;
};

// What attention is told of a packing.
struct Sequences {
  std::vector<int32_t> offsets{0}, begin, end, positions;

  explicit Sequences(const Packing& packing) {
    for (const int64_t length : packing.lengths) {
      begin.push_back(offsets.back() + static_cast<int32_t>(std::min(packing.hidden, length)));
      offsets.push_back(offsets.back() + static_cast<int32_t>(length));
      end.push_back(offsets.back());
      for (int64_t i = 0; i < length; ++i) positions.push_back(static_cast<int32_t>(i));
    }
    positions.resize(positions.size() + static_cast<size_t>(packing.surplus), 0);
  }
  int64_t rows() const { return static_cast<int64_t>(positions.size()); }
};

// Sequences in one merged Q, K, V matrix. Rows that belong to none hold NaN: whoever reads them is found out.
inline Step packed(Random& random, const AttentionCase& c, const Packing& packing) {
  const Sequences s(packing);
  const int64_t rows = s.rows(), q = c.heads * c.head_dim, kv = c.shared_kv() * c.head_dim, width = q + 2 * kv;
  const Tensor random_rows = random.tensor(c.dtype, {rows, width});
  const Tensor merged = filled(c.dtype, {rows, width},
                               [&](int64_t i) { return i / width < s.offsets.back() ? random_rows.at(i) : kNan; });
  return {Op::k_attention,
          {merged, merged, merged, int32s(s.offsets), int32s(s.begin), int32s(s.end), int32s(s.positions),
           int32s(s.positions)},
          c.attrs({0, q, q + kv})};
}

}  // namespace tenon::test
