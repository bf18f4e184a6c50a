#include "builder/io_types.h"

#include <array>

#include "ops/create.h"

namespace tenon::builder {
namespace {

using ir::Op;

constexpr std::array<std::pair<std::string_view, DType>, 8> kTypes = {{
    {"fp32", DType::kF32},
    {"fp16", DType::kF16},
    {"bf16", DType::kBF16},
    {"int32", DType::kI32},
    {"int64", DType::kI64},
    {"int8", DType::kI8},
    {"uint8", DType::kU8},
    {"bool", DType::kBool},
}};

std::string user_name(DType type) {
  for (const auto& [name, known] : kTypes)
    if (known == type) return std::string(name);
  return std::string(dtype_name(type));
}

// The type that the i-th of `count` tensors is to have.
Result<DType> wanted(const std::vector<std::string>& names, size_t i, size_t count, std::string_view kind,
                     const std::string& tensor, DType own) {
  if (names.empty()) return own;
  if (names.size() != 1 && names.size() != count) {
    return error(ErrorCode::kInvalidArgument, "{} types for {} {}s: give one for each, or one for all", names.size(),
                 count, kind);
  }
  const std::string& name = names[names.size() == 1 ? 0 : i];
  if (name.empty()) return own;
  for (const auto& [known, type] : kTypes) {
    if (name != known) continue;
    if (is_float(type) == is_float(own)) return type;
    return error(ErrorCode::kInvalidArgument,
                 "{} {} is {} in the model and cannot be {}: floats stay floats, whole numbers whole numbers", kind,
                 tensor, user_name(own), name);
  }
  return error(ErrorCode::kInvalidArgument,
               "there is no type \"{}\": fp32, fp16, bf16, int32, int64, int8, uint8 or bool", name);
}

}  // namespace

Status set_io_types(ir::Graph& graph, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs) {
  const auto cast = [&](ir::Value* from, DType to, ir::Node* before) -> Result<ir::Value*> {
    ir::Attrs attrs;
    attrs.set("to", to);
    TENON_ASSIGN(ir::Node* const node, ops::create(graph, Op::k_cast, {from}, std::move(attrs), before));
    node->output()->set_name(graph.unique_name(from->name() + "." + std::string(dtype_name(to))));
    return node->output();
  };
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    const auto [name, value] = graph.outputs()[i];
    TENON_ASSIGN(const DType type, wanted(outputs, i, graph.outputs().size(), "output", name, value->dtype()));
    if (type == value->dtype()) continue;
    TENON_ASSIGN(ir::Value* const made, cast(value, type, nullptr));
    graph.set_output(i, made);
  }
  ir::Node* const first = graph.nodes().empty() ? nullptr : graph.nodes().front().get();
  for (size_t i = 0; i < graph.inputs().size(); ++i) {
    ir::Value* const input = graph.inputs()[i].get();
    const DType own = input->dtype();
    TENON_ASSIGN(const DType type, wanted(inputs, i, graph.inputs().size(), "input", input->name(), own));
    if (type == own) continue;
    TENON_ASSIGN(ir::Value* const made, cast(input, own, first));
    graph.replace_all_uses(input, made);
    graph.set_input(made->producer(), 0, input);
    input->set_type({type, input->shape()});
  }
  return {};
}

}  // namespace tenon::builder
