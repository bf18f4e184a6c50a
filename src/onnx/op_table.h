// The operators that can be imported.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "onnx/call.h"

namespace tenon::onnx {

inline constexpr int64_t kOldestOpset = 7;
inline constexpr int64_t kNewestOpset = 28;

struct OpRow {
  std::string_view domain;  // empty: the standard operators
  std::string_view name;
  int64_t first;  // opsets of the domain for which the row holds
  int64_t last;
  int inputs;  // how many leading inputs must be present
  Status (*import)(Call&);
  bool takes_sequence = false;  // else every input is a tensor
};

std::span<const OpRow> op_table();

// Null when there is none.
const OpRow* find_op(std::string_view domain, std::string_view name, int64_t opset);

}  // namespace tenon::onnx
