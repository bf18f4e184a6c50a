// Steps of disentangled_bias, over dense rows and over sequences packed in one matrix.
#pragma once

#include "tests/kernels/attention_step.h"

namespace tenon::test {

struct DisentangledCase {
  DType dtype = DType::kF32;
  int64_t heads = 2, head_dim = 64, table_rows = 40;
  bool by_query = true, by_key = true;
  bool scattered = false;  // indices anywhere in the table, instead of by the distance
  Attrs attrs(std::vector<int64_t> columns = {0, 0}) const {
    return {{"heads", heads}, {"head_dim", head_dim}, {"columns", std::move(columns)}, {"scale", 0.3}};
  }
};

// i32 [q_len, k_len]: as far as the table reaches by the distance, `sign` 1 or -1.
inline Tensor picked_rows(Random& random, const DisentangledCase& c, int64_t q_len, int64_t k_len, int64_t sign) {
  return filled(DType::kI32, {q_len, k_len}, [&](int64_t i) {
    const int64_t by_distance = sign * (i / k_len - i % k_len) + c.table_rows / 2;
    return c.scattered ? random.integer(0, c.table_rows - 1) : std::clamp<int64_t>(by_distance, 0, c.table_rows - 1);
  });
}

// Inputs 2 to 5.
inline void add_tables(Random& random, const DisentangledCase& c, int64_t q_len, int64_t k_len, Step& step) {
  for (const auto& [present, sign] : {std::pair{c.by_query, 1}, {c.by_key, -1}}) {
    Given table, index;
    if (present) {
      table = random.tensor(c.dtype, {c.table_rows, c.heads * c.head_dim}, -0.5, 0.5);
      index = picked_rows(random, c, q_len, k_len, sign);
    }
    step.inputs.push_back(table);
    step.inputs.push_back(index);
  }
  step.constants = {2, 4};
}

inline Step dense_bias(Random& random, const DisentangledCase& c, int64_t batch, int64_t q_len, int64_t k_len) {
  const auto rows = [&](int64_t len) { return random.tensor(c.dtype, {batch, len, c.heads * c.head_dim}, -0.5, 0.5); };
  Step step{Op::k_disentangled_bias, {rows(q_len), rows(k_len)}, c.attrs()};
  add_tables(random, c, q_len, k_len, step);
  return step;
}

// Sequences in one merged Q, K matrix; rows that belong to none hold NaN. `gap`: from one row's position to the next.
inline Step packed_bias(Random& random, const DisentangledCase& c, const Packing& packing, int32_t gap = 1) {
  Sequences s(packing);
  for (int32_t& p : s.positions) p *= gap;
  const int64_t rows = s.rows(), width = c.heads * c.head_dim, merged = 2 * width;
  const Tensor random_rows = random.tensor(c.dtype, {rows, merged}, -0.5, 0.5);
  const Tensor x = filled(c.dtype, {rows, merged},
                          [&](int64_t i) { return i / merged < s.offsets.back() ? random_rows.at(i) : kNan; });
  const int64_t length = *std::max_element(s.positions.begin(), s.positions.end()) + 3;
  Step step{Op::k_disentangled_bias, {x, x}, c.attrs({0, width})};
  add_tables(random, c, length, length, step);
  step.inputs.insert(step.inputs.end(),
                     {int32s(s.offsets), int32s(s.begin), int32s(s.end), int32s(s.positions), int32s(s.positions)});
  return step;
}

}  // namespace tenon::test
