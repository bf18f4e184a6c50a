// Which constant expressions of a graph become weights of the engine, each stored once per layout.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "plan/planner.h"

namespace tenon::plan {

class WeightTable {
 public:
  explicit WeightTable(PlannedModel& model) : model_(model) {}

  // The plan value that holds constant expression `value` as it is, or as `kernel` packs it for input `input` of `problem`.
  // Expressions that are equal (same operators over tensors with the same contents) share one weight. Errors: internal.
  Result<int> add(const ir::Value& value, const kernels::Kernel* kernel, const kernels::Problem& problem, int input,
                  engine::Place place = engine::Place::kHost);

 private:
  // A text that equal expressions share: "transpose(#3){perm = [1, 0]}"; #3 is the third distinct tensor.
  const std::string& key(const ir::Value& value);
  size_t tensor_id(const ir::Tensor& tensor);

  PlannedModel& model_;
  std::unordered_map<const ir::Value*, std::string> keys_;
  std::map<uint64_t, std::vector<size_t>> by_checksum_;
  std::vector<ir::Tensor> tensors_;
  std::map<std::string, int> values_;  // key and layout -> plan value
};

}  // namespace tenon::plan
