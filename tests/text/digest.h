// Encodings as numbers, and a hash over them that make_goldens.py computes in the same way.
#pragma once

#include <cstdint>
#include <vector>

#include "text/tokenizer.h"

namespace tenon::text {

// Calls body(number) for each token's id, type, word, begin, end (code points), special, sequence.
template <class Body>
void for_each_number(const Encoding& row, Body&& body) {
  for (size_t i = 0; i < row.size(); ++i) {
    for (const int32_t number : {row.ids[i], row.type_ids[i], row.word_ids[i], row.offsets[i].first, row.offsets[i].second,
                                 row.special_tokens_mask[i], row.sequence_ids[i]})
      body(number);
  }
}

inline std::vector<int32_t> numbers_of(const Encoding& row) {
  std::vector<int32_t> out;
  for_each_number(row, [&](int32_t number) { out.push_back(number); });
  return out;
}

// The sum of all mixed (index, number): depends on order, and is quick in numpy too.
class Digest {
 public:
  void add(int32_t number) {
    uint64_t z = (index_++ << 32 | static_cast<uint32_t>(number)) + 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    sum_ += z ^ z >> 31;
  }
  void add(const Encoding& row) {
    add(static_cast<int32_t>(row.size()));
    for_each_number(row, [this](int32_t number) { add(number); });
  }
  uint64_t value() const { return sum_; }

 private:
  uint64_t index_ = 0, sum_ = 0;
};

}  // namespace tenon::text
