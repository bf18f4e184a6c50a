#include "onnx/roles.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace tenon::onnx {
namespace {

using ir::Graph;
using ir::Value;

const Value* find_output(const Graph& graph, std::string_view name) {
  const auto it =
      std::find_if(graph.outputs().begin(), graph.outputs().end(), [&](const auto& o) { return o.name == name; });
  return it == graph.outputs().end() ? nullptr : it->value;
}

// True when `size` is the number of rows of a table that an input of the model indexes: the vocabulary.
bool is_vocabulary(const Graph& graph, const ir::Dim& size) {
  return std::any_of(graph.nodes().begin(), graph.nodes().end(), [&](const auto& node) {
    return node->is(ir::Op::k_gather) && node->input(1)->is_input() && node->input(0)->constant() != nullptr &&
           node->input(0)->rank() == 2 && node->input(0)->shape()[0] == size;
  });
}

std::string_view task_of(const Graph& graph) {
  if (find_output(graph, "start_logits") && find_output(graph, "end_logits")) return "question-answering";
  if (find_output(graph, "prediction_logits") && find_output(graph, "seq_relationship_logits")) return "pretraining";
  if (find_output(graph, "sentence_embedding")) return "embedding";
  if (find_output(graph, "last_hidden_state")) return "encoder";
  const Value* logits = find_output(graph, "logits");
  if (logits == nullptr) return "";
  if (logits->rank() == 2) return "sequence-classification";
  if (logits->rank() != 3) return "";
  return is_vocabulary(graph, logits->shape()[2]) ? "fill-mask" : "token-classification";
}

// Exporters keep the module path in the names of parameters: "distilbert.embeddings.word_embeddings.weight".
std::string_view architecture_of(const Graph& graph) {
  constexpr std::array<std::string_view, 5> kNames = {"distilbert", "roberta", "electra", "mpnet", "bert"};
  for (const auto& node : graph.nodes()) {
    if (!node->is(ir::Op::k_constant)) continue;
    const std::string& name = node->attrs().text("name");
    for (const std::string_view architecture : kNames) {
      const size_t at = name.find(architecture);
      if (at != std::string::npos && name.find('.', at) == at + architecture.size()) return architecture;
    }
  }
  return "";
}

}  // namespace

void guess_roles(ir::Model& model) {
  model.task = task_of(*model.graph);
  model.architecture = architecture_of(*model.graph);
}

}  // namespace tenon::onnx
