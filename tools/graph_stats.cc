#include "tools/graph_stats.h"

#include "ops/interpret.h"
#include "ops/op_def.h"

namespace tenon::tools {

int64_t evaluate_size(const ir::Graph& graph, const ir::Dim& dim, int64_t batch, int64_t seq) {
  const auto symbol = [&](std::string_view name) -> std::optional<int64_t> {
    for (const auto& in : graph.inputs()) {
      for (size_t axis = 0; axis < in->shape().size(); ++axis)
        if (in->shape()[axis].is_symbol() && in->shape()[axis].to_string() == name) return axis == 0 ? batch : axis == 1 ? seq : 1;
    }
    const auto it = graph.data_symbols.find(std::string(name));
    if (it != graph.data_symbols.end()) return evaluate_size(graph, it->second.bound, batch, seq);
    return std::nullopt;
  };
  return dim.evaluate(symbol).value_or(0);
}

GraphStats measure_graph(const ir::Graph& graph, int64_t batch, int64_t seq) {
  GraphStats stats;
  for (const auto& node : graph.nodes()) {
    if (node->is(ir::Op::k_constant)) {
      stats.parameters += static_cast<double>(node->attrs().tensor("value").numel());
      continue;
    }
    if (ops::is_constant_expression(*node->output())) continue;
    ++stats.ops[std::string(ir::op_name(node->op()))];
    if (node->is(ir::Op::k_reshape)) continue;
    ++stats.launches;
    std::vector<std::vector<int64_t>> shapes;
    const auto concrete = [&](const ir::Value* v) {
      std::vector<int64_t> shape;
      if (v != nullptr)
        for (const ir::Dim& d : v->shape()) shape.push_back(evaluate_size(graph, d, batch, seq));
      shapes.push_back(std::move(shape));
    };
    for (const ir::Value* v : node->inputs()) concrete(v);
    for (int i = 0; i < node->num_outputs(); ++i) concrete(node->output(i));
    std::vector<ops::TensorArg> inputs, outputs;
    static int present = 0;  // flops functions look at shapes and at which inputs are there
    for (int i = 0; i < node->num_inputs(); ++i)
      inputs.push_back({node->input(i) ? node->input(i)->dtype() : DType::kF32, shapes[static_cast<size_t>(i)], node->input(i) ? &present : nullptr});
    for (int i = 0; i < node->num_outputs(); ++i) {
      outputs.push_back({node->output(i)->dtype(), shapes[static_cast<size_t>(node->num_inputs() + i)], &present});
      stats.intermediate_bytes += static_cast<double>(outputs.back().numel()) * static_cast<double>(dtype_size(outputs.back().dtype));
    }
    const auto& def = ops::op_def(node->op());
    if (def.flops != nullptr) stats.flops += def.flops(node->attrs(), inputs, outputs);
  }
  return stats;
}

}  // namespace tenon::tools
