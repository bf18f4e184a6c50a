// Which constant expressions of a graph become weights of the engine, each stored once per layout.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "plan/planner.h"

namespace tenon::plan {

// Names of constant expressions, equal where they compute the same: equal operators over tensors with the same contents,
// in one graph or several, which must outlive it.
class ExpressionNames {
 public:
  // "transpose(#3){perm = [1, 0]}"; #3 is the third distinct tensor.
  const std::string& of(const ir::Value& value);

 private:
  size_t tensor_id(const ir::Tensor& tensor);

  std::unordered_map<const ir::Value*, std::string> names_;
  std::map<uint64_t, std::vector<size_t>> by_checksum_;
  std::unordered_map<const std::byte*, size_t> by_address_;  // graphs that were cloned share their tensors
  std::vector<ir::Tensor> tensors_;
};

class WeightTable {
 public:
  WeightTable(PlannedModel& model, ExpressionNames& names) : model_(model), names_(names) {}

  // The plan value that holds constant expression `value` as it is, or as `kernel` packs it for input `input` of `problem`.
  // Equal expressions share one weight. Errors: internal.
  Result<int> add(const ir::Value& value, const kernels::Kernel* kernel, const kernels::Problem& problem, int input,
                  engine::Place place = engine::Place::kHost);

 private:
  PlannedModel& model_;
  ExpressionNames& names_;
  std::map<std::string, int> values_;  // name and layout -> plan value
};

// Gives the weights of plans that were made with the same ExpressionNames their places in one section; equal bytes share one.
void place_weights(std::span<PlannedModel* const> models);

}  // namespace tenon::plan
