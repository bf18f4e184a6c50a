#include "plan/weight_table.h"

#include <algorithm>

#include "base/hash.h"
#include "engine/format.h"
#include "engine/writer.h"
#include "ir/text.h"
#include "kernels/cuda/cuda_kernel.h"

namespace tenon::plan {
namespace {

constexpr size_t kMaxName = 200;

// "concat(q.weight,k.weight,v.weight)": parameters by name, literals as "literal".
std::string describe(const ir::Value& value) {
  const ir::Node& node = *value.producer();
  if (node.is(ir::Op::k_constant)) {
    const std::string& name = node.attrs().text("name");
    return name.empty() ? "literal" : name;
  }
  std::string text = std::string(ir::op_name(node.op())) + "(";
  for (int i = 0; i < node.num_inputs() && text.size() < kMaxName; ++i) {
    if (i > 0) text += ",";
    if (node.input(i) != nullptr) text += describe(*node.input(i));
  }
  text += ")";
  return text.size() <= kMaxName ? text : text.substr(0, kMaxName) + "…";
}

}  // namespace

size_t ExpressionNames::tensor_id(const ir::Tensor& tensor) {
  const auto known = tensor.has_data() ? by_address_.find(tensor.data()) : by_address_.end();
  if (known != by_address_.end() && tensors_[known->second].shape() == tensor.shape() && tensors_[known->second].dtype() == tensor.dtype()) return known->second;
  const std::span<const std::byte> bytes(tensor.data(), tensor.has_data() ? tensor.bytes() : 0);
  std::vector<size_t>& candidates = by_checksum_[checksum(bytes, static_cast<uint64_t>(tensor.dtype()))];
  for (size_t id : candidates)
    if (tensors_[id].same_bytes(tensor)) return id;
  candidates.push_back(tensors_.size());
  if (tensor.has_data()) by_address_.emplace(tensor.data(), tensors_.size());
  tensors_.push_back(tensor);
  return tensors_.size() - 1;
}

const std::string& ExpressionNames::of(const ir::Value& value) {
  if (const auto it = names_.find(&value); it != names_.end()) return it->second;
  const ir::Node& node = *value.producer();
  std::string text;
  if (node.is(ir::Op::k_constant)) {
    text = fmt::format("#{}", tensor_id(node.attrs().tensor("value")));
  } else {
    text = std::string(ir::op_name(node.op())) + "(";
    for (int i = 0; i < node.num_inputs(); ++i) text += (i > 0 ? "," : "") + (node.input(i) != nullptr ? of(*node.input(i)) : "_");
    text += "){";
    for (const auto& [name, attr] : node.attrs().all()) text += name + " = " + ir::print(attr) + ",";
    text += fmt::format("}}.{}", value.index());
  }
  return names_.emplace(&value, std::move(text)).first->second;
}

Result<int> WeightTable::add(const ir::Value& value, const kernels::Kernel* kernel, const kernels::Problem& problem, int input,
                             engine::Place place) {
  const auto packed = kernel != nullptr ? kernel->packed_type(problem, input) : std::nullopt;
  if (!packed) kernel = nullptr;
  const ir::TensorType& stored = packed ? *packed : value.type();
  if (!ir::all_const(stored.shape)) return error(ErrorCode::kInternal, "the weight %{} has the symbolic type {}", value.name(), stored.to_string());

  const std::string expression = names_.of(value) + " as " + value.type().to_string();
  const auto packed_by = [&](std::string_view who) {
    return expression + (kernel != nullptr ? fmt::format(" packed by {} as input {}: {}", who, input, stored.to_string()) : "");
  };
  const kernels::CudaKernel* cuda = kernel != nullptr ? kernel->as_cuda() : nullptr;
  const std::string_view packing = cuda != nullptr ? cuda->packing(problem) : kernel != nullptr ? kernel->id() : "";
  std::string id = packed_by(kernel != nullptr ? fmt::format("{} ({})", kernel->id(), packing) : "");
  if (place == engine::Place::kDevice) id += " on the device";
  const auto [it, is_new] = values_.emplace(id, static_cast<int>(model_.plan.values.size()));
  if (!is_new) return it->second;

  engine::PlanWeight weight{describe(value), stored, kernel != nullptr ? std::string(kernel->id()) : "", 0, 0};
  model_.plan.values.push_back({.name = value.name(),
                                .type = value.type(),
                                .kind = engine::PlanValue::Kind::kWeight,
                                .source = static_cast<int>(model_.plan.weights.size()),
                                .alias_of = -1,
                                .place = place,
                                .in_place = false,
                                .first_step = -1,
                                .last_step = -1});
  model_.plan.weights.push_back(std::move(weight));
  model_.weights.push_back({&value, kernel, kernel != nullptr ? problem : kernels::Problem{}, input, packed_by(packing)});
  return it->second;
}

void place_weights(std::span<PlannedModel* const> models) {
  std::map<std::string_view, uint64_t> placed;
  uint64_t end = 0;
  for (PlannedModel* model : models) {
    engine::place_weights(model->plan);  // also says how many bytes each has
    for (size_t i = 0; i < model->weights.size(); ++i) {
      engine::PlanWeight& weight = model->plan.weights[i];
      const auto [it, is_new] = placed.emplace(model->weights[i].bytes_name, engine::align_up(end, engine::kWeightAlignment));
      weight.offset = it->second;
      if (is_new) end = weight.offset + weight.bytes;
    }
  }
}

}  // namespace tenon::plan
