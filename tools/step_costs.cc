#include "tools/step_costs.h"

#include <algorithm>
#include <map>
#include <set>

#include "ops/op_def.h"

namespace tenon::tools {
namespace {

using ir::Op;

// Sizes of a run.
class Sizes {
 public:
  Sizes(const engine::Plan& plan, const NamedTensors& inputs, int64_t tokens) {
    for (const engine::PlanSymbol& s : plan.symbols) {
      if (s.input < 0) continue;
      const std::string& name = plan.inputs[static_cast<size_t>(s.input)].name;
      const auto given = std::find_if(inputs.begin(), inputs.end(), [&](const auto& i) { return i.first == name; });
      if (given != inputs.end()) values_[s.name] = given->second.shape()[static_cast<size_t>(s.axis)];
    }
    // Sizes that data decide are those of packed tokens.
    for (const engine::PlanSymbol& s : plan.symbols)
      if (s.input < 0) values_[s.name] = std::min(tokens, value(s.bound));
  }
  std::vector<int64_t> shape(const ir::Shape& shape) const {
    std::vector<int64_t> out;
    for (const ir::Dim& d : shape) out.push_back(value(d));
    return out;
  }

 private:
  int64_t value(const ir::Dim& dim) const {
    return dim
        .evaluate([&](std::string_view name) -> std::optional<int64_t> {
          const auto it = values_.find(std::string(name));
          return it == values_.end() ? std::nullopt : std::optional(it->second);
        })
        .value_or(0);
  }
  std::map<std::string, int64_t> values_;
};

std::string group_of(Op op) {
  switch (op) {
    case Op::k_linear:
    case Op::k_linear_norm:
    case Op::k_matmul:
    case Op::k_conv:
    case Op::k_conv_transpose:
      return "GEMM";
    case Op::k_attention:
    case Op::k_softmax:
      return "attention";
    case Op::k_layer_norm:
    case Op::k_rms_norm:
      return "norm";
    case Op::k_embedding:
    case Op::k_gather:
      return "embedding";
    default:
      return ops::op_def(op).locality == ops::Locality::kElementwise ? "bias+activation" : "other";
  }
}

double bytes_of(DType dtype, const std::vector<int64_t>& shape) {
  double bytes = static_cast<double>(dtype_size(dtype));
  for (const int64_t n : shape) bytes *= static_cast<double>(n);
  return bytes;
}

}  // namespace

std::vector<StepCost> step_costs(const engine::Plan& plan, const NamedTensors& inputs, int64_t tokens) {
  const Sizes sizes(plan, inputs, tokens);
  std::vector<StepCost> costs;
  for (const engine::PlanStep& step : plan.steps) {
    StepCost& cost = costs.emplace_back();
    cost.op = ir::op_name(step.op);
    cost.group = group_of(step.op);
    for (const engine::KernelChoice& choice : step.kernels)
      if (choice.absorbs) cost.absorbers.push_back(choice.kernel);
    if (!step.outputs.empty()) cost.name = plan.values[static_cast<size_t>(step.outputs[0])].name;
    std::vector<std::vector<int64_t>> shapes;
    std::vector<ops::TensorArg> in, out;
    static int there = 0;  // shapes are looked at, and which inputs are given
    shapes.reserve(step.inputs.size() + step.outputs.size());
    std::set<int> seen;
    double written = 0, looked_up = 0;
    for (const int v : step.outputs) {
      const engine::PlanValue& value = plan.values[static_cast<size_t>(v)];
      shapes.push_back(sizes.shape(value.type.shape));
      out.push_back({value.type.dtype, shapes.back(), &there});
      written += bytes_of(value.type.dtype, shapes.back());
    }
    for (const int v : step.inputs) {
      if (v < 0) {
        in.emplace_back();
        continue;
      }
      const engine::PlanValue& value = plan.values[static_cast<size_t>(v)];
      shapes.push_back(sizes.shape(value.type.shape));
      in.push_back({value.type.dtype, shapes.back(), &there});
      const engine::PlanValue& root = plan.values[static_cast<size_t>(engine::root_of(plan, v))];
      if (!seen.insert(engine::root_of(plan, v)).second) continue;
      if (root.kind != engine::PlanValue::Kind::kWeight)
        cost.activation_bytes += bytes_of(value.type.dtype, shapes.back());
      else if (cost.group == "embedding")
        looked_up += std::min(written, bytes_of(value.type.dtype, shapes.back()));
      else
        cost.weight_bytes += static_cast<double>(plan.weights[static_cast<size_t>(root.source)].bytes);
    }
    cost.weight_bytes += looked_up;
    cost.activation_bytes += written;
    cost.written_bytes = written;
    const auto& def = ops::op_def(step.op);
    if (def.flops != nullptr) cost.flops = def.flops(step.attrs, in, out);
    cost.factors = std::string(dtype_name(in.empty() ? DType::kF32 : in[0].dtype));
    const bool multiplies = step.op == Op::k_linear || step.op == Op::k_conv;
    if (multiplies && !step.attrs.text("factors").empty()) cost.factors = step.attrs.text("factors");
  }
  return costs;
}

}  // namespace tenon::tools
