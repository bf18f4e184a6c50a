#include "tools/exec_layers.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace tenon::tools {
namespace {

using Json = nlohmann::ordered_json;

const std::string& output_name(const engine::Plan& plan, const engine::PlanStep& step) {
  return plan.values[static_cast<size_t>(step.outputs[0])].name;
}

// The model's nodes that a step comes from; origins join them by '+'.
std::vector<std::string> nodes_of(const engine::PlanStep& step) {
  std::vector<std::string> nodes;
  for (size_t at = 0; at < step.origin.size();) {
    const size_t end = std::min(step.origin.find('+', at), step.origin.size());
    if (end > at) nodes.push_back(step.origin.substr(at, end - at));
    at = end + 1;
  }
  return nodes;
}

std::string join_nodes(const std::vector<std::string>& nodes, std::string_view between, std::string_view before = "",
                       std::string_view after = "") {
  std::string text;
  for (const std::string& node : nodes)
    text.append(text.empty() ? "" : between).append(before).append(node).append(after);
  return text;
}

std::string datatype(DType type) {
  switch (type) {
    case DType::kF32:
      return "Float";
    case DType::kF16:
      return "Half";
    case DType::kBF16:
      return "BFloat16";
    case DType::kI8:
      return "Int8";
    case DType::kU8:
      return "UInt8";
    case DType::kI32:
      return "Int32";
    case DType::kI64:
      return "Int64";
    case DType::kBool:
      return "Bool";
    default:
      return std::string(dtype_name(type));
  }
}

Json tensor(const engine::PlanValue& value) {
  Json sizes = Json::array();
  for (const ir::Dim& dim : value.type.shape) sizes.push_back(dim.is_const() ? dim.value() : -1);
  return {{"Name", value.name}, {"Dimensions", sizes}, {"Format/Datatype", datatype(value.type.dtype)}};
}

// The elements of a constant.
Json weights(const engine::PlanValue& value) {
  int64_t count = 1;
  for (const ir::Dim& dim : value.type.shape) count *= dim.is_const() ? dim.value() : 1;
  return {{"Type", datatype(value.type.dtype)}, {"Count", count}};
}

Json layer(const engine::Plan& plan, const engine::PlanStep& step, const std::string& name) {
  Json inputs = Json::array(), outputs = Json::array(), constants = Json::array();
  Json out = {{"Name", name}, {"LayerType", ir::op_name(step.op)}, {"ParameterType", ir::op_name(step.op)}};
  const bool product = step.op == ir::Op::k_linear || step.op == ir::Op::k_conv;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (step.inputs[i] < 0) continue;
    const engine::PlanValue& value = plan.values[static_cast<size_t>(step.inputs[i])];
    const bool constant = value.kind == engine::PlanValue::Kind::kWeight;
    (constant ? constants : inputs).push_back(tensor(value));
    if (product && constant && (i == 1 || i == 2)) out[i == 1 ? "Weights" : "Bias"] = weights(value);
  }
  for (const int id : step.outputs)
    if (id >= 0) outputs.push_back(tensor(plan.values[static_cast<size_t>(id)]));
  out["Inputs"] = inputs;
  out["Outputs"] = outputs;
  out["TacticName"] = step.kernels[0].kernel;
  out["TacticValue"] = step.kernels[0].config;
  out["StreamId"] = 0;
  // As TensorRT separates them.
  out["Metadata"] = join_nodes(nodes_of(step), "\x1e", "[ONNX Layer: ", "]");
  out["Constants"] = constants;
  return out;
}

}  // namespace

std::map<std::string, std::string> layer_names(const engine::Plan& plan) {
  std::map<std::string, int> count;
  for (const engine::PlanStep& step : plan.steps) ++count[step.origin];
  std::map<std::string, std::string> names;
  for (const engine::PlanStep& step : plan.steps) {
    const std::string& output = output_name(plan, step);
    const std::string nodes = join_nodes(nodes_of(step), " + ");
    names[output] = nodes.empty() ? output : count[step.origin] > 1 ? nodes + " (" + output + ")" : nodes;
  }
  return names;
}

std::string layer_info(const engine::Plan& plan, bool detailed) {
  const std::map<std::string, std::string> names = layer_names(plan);
  Json layers = Json::array(), bindings = Json::array();
  for (const engine::PlanStep& step : plan.steps) {
    const std::string& name = names.at(output_name(plan, step));
    layers.push_back(detailed ? layer(plan, step, name) : Json(name));
  }
  for (const auto& in : plan.inputs) bindings.push_back(in.name);
  for (const auto& out : plan.outputs) bindings.push_back(out.name);
  return Json{{"Layers", layers}, {"Bindings", bindings}}.dump(1) + "\n";
}

}  // namespace tenon::tools
