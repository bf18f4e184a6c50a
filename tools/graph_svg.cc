#include "tools/graph_svg.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <vector>

#include "ops/interpret.h"

namespace tenon::tools {
namespace {

constexpr int kWidth = 132, kHeight = 22, kGapX = 10, kGapY = 18;

const char* colour_of(ir::Op op) {
  switch (op) {
    case ir::Op::k_linear:
    case ir::Op::k_matmul: return "#8ecae6";
    case ir::Op::k_attention:
    case ir::Op::k_softmax: return "#ffb703";
    case ir::Op::k_layer_norm:
    case ir::Op::k_rms_norm: return "#b7e4c7";
    case ir::Op::k_embedding:
    case ir::Op::k_gather: return "#cdb4db";
    case ir::Op::k_pack_tokens:
    case ir::Op::k_count_tokens:
    case ir::Op::k_unpack_tokens: return "#ffafcc";
    default: return ops::op_def(op).locality == ops::Locality::kElementwise ? "#fefae0" : "#e5e5e5";
  }
}

std::string escape(const std::string& text) {
  std::string out;
  for (char c : text) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return out;
}

struct Picture {
  std::string body;
  int width = 0, height = 0;
};

Picture draw(const ir::Graph& graph, int left, const std::string& title) {
  std::map<const ir::Node*, std::pair<int, int>> place;  // layer, column
  std::vector<int> columns;
  for (const auto& node : graph.nodes()) {
    if (node->num_outputs() == 0 || ops::is_constant_expression(*node->output())) continue;
    int layer = 0;
    for (const ir::Value* v : node->inputs()) {
      const auto it = v != nullptr && v->producer() != nullptr ? place.find(v->producer()) : place.end();
      if (it != place.end()) layer = std::max(layer, it->second.first + 1);
    }
    columns.resize(std::max(columns.size(), static_cast<size_t>(layer) + 1));
    place[node.get()] = {layer, columns[static_cast<size_t>(layer)]++};
  }
  Picture p;
  const auto x = [&](const std::pair<int, int>& at) { return left + at.second * (kWidth + kGapX); };
  const auto y = [&](const std::pair<int, int>& at) { return 40 + at.first * (kHeight + kGapY); };
  p.body = fmt::format("<text x=\"{}\" y=\"22\" font-weight=\"bold\">{} ({} nodes)</text>\n", left, title, place.size());
  for (const auto& node : graph.nodes()) {
    const auto it = place.find(node.get());
    if (it == place.end()) continue;
    for (const ir::Value* v : node->inputs()) {
      const auto from = v != nullptr && v->producer() != nullptr ? place.find(v->producer()) : place.end();
      if (from == place.end()) continue;
      p.body += fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n", x(from->second) + kWidth / 2, y(from->second) + kHeight, x(it->second) + kWidth / 2, y(it->second));
    }
    p.body += fmt::format("<g><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\" fill=\"{}\"/><text x=\"{}\" y=\"{}\">{}</text></g>\n",
                          escape(node->describe() + ": " + node->output()->type().to_string()), x(it->second), y(it->second), kWidth, kHeight, colour_of(node->op()),
                          x(it->second) + 6, y(it->second) + 15, std::string(ir::op_name(node->op())));
  }
  p.width = left + std::max(1, columns.empty() ? 1 : *std::max_element(columns.begin(), columns.end())) * (kWidth + kGapX);
  p.height = 60 + static_cast<int>(columns.size()) * (kHeight + kGapY);
  return p;
}

}  // namespace

std::string draw_svg(const ir::Graph& before, const ir::Graph& after) {
  const Picture first = draw(before, 20, "as imported"), second = draw(after, first.width + 60, "as compiled");
  return fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" font-size=\"11\">\n"
                     "<style>line{{stroke:#999}} rect{{stroke:#555}}</style>\n{}{}</svg>\n",
                     second.width + 20, std::max(first.height, second.height), first.body, second.body);
}

}  // namespace tenon::tools
