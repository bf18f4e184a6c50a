#include <algorithm>
#include <cctype>
#include <cmath>

#include "ir/text.h"

namespace tenon::ir {
namespace {

std::string quote(const std::string& s) {
  std::string out = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string print_number(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  std::string s = fmt::format("{}", v);  // shortest text that reads back as the same double
  if (s.find_first_of(".en") == std::string::npos) s += ".0";
  return s;
}

std::string print_tensor(const Tensor& t, int64_t max_inline) {
  std::string out = std::string(dtype_name(t.dtype())) + ir::to_string(to_shape(t.shape()));
  if (!t.has_data() || t.numel() > max_inline) return out;
  for (int64_t i = 0; i < t.numel(); ++i) {
    out += i == 0 ? " " : ", ";
    out += is_float(t.dtype()) ? print_number(t.at(i)) : std::to_string(t.int_at(i));
  }
  return out;
}

std::string print_list(const std::vector<int64_t>& values) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i) out += (i ? ", " : "") + std::to_string(values[i]);
  return out + "]";
}

}  // namespace

std::string print(const AttrValue& value, int64_t max_inline) {
  struct Visitor {
    int64_t max_inline;
    std::string operator()(int64_t v) const { return std::to_string(v); }
    std::string operator()(double v) const { return print_number(v); }
    std::string operator()(const std::string& v) const { return quote(v); }
    std::string operator()(DType v) const { return std::string(dtype_name(v)); }
    std::string operator()(const std::vector<int64_t>& v) const { return print_list(v); }
    std::string operator()(const Shape& v) const { return "dims" + ir::to_string(v); }
    std::string operator()(const std::vector<double>& v) const {
      std::string out = "numbers[";
      for (size_t i = 0; i < v.size(); ++i) out += (i ? ", " : "") + print_number(v[i]);
      return out + "]";
    }
    std::string operator()(const Tensor& v) const { return "tensor " + print_tensor(v, max_inline); }
  };
  return std::visit(Visitor{max_inline}, value);
}

std::string print(const Node& node, int64_t max_inline) {
  std::string out;
  for (int i = 0; i < node.num_outputs(); ++i) {
    out += i ? ", %" : "%";
    out += node.output(i)->name() + ": " + node.output(i)->type().to_string();
  }
  out += " = ";
  out += op_name(node.op());
  if (node.num_inputs() > 0) {
    out += "(";
    for (int i = 0; i < node.num_inputs(); ++i) {
      out += i ? ", " : "";
      out += node.input(i) ? "%" + node.input(i)->name() : "_";
    }
    out += ")";
  }
  if (!node.attrs().all().empty()) {
    out += " {";
    bool first = true;
    for (const auto& [name, value] : node.attrs().all()) {
      out += first ? "" : ", ";
      out += name + " = " + print(value, max_inline);
      first = false;
    }
    out += "}";
  }
  if (!node.origin().empty()) out += " from " + quote(node.origin());
  return out;
}

std::string print(const Graph& graph, int64_t max_inline) {
  const bool plain = std::all_of(graph.name.begin(), graph.name.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  std::string out = "graph @" + (plain ? graph.name : quote(graph.name)) + "(";
  bool first = true;
  for (const auto& in : graph.inputs()) {
    out += first ? "%" : ", %";
    out += in->name() + ": " + in->type().to_string();
    first = false;
  }
  out += ") {\n";
  for (const auto& node : graph.nodes()) out += "  " + print(*node, max_inline) + "\n";
  for (const auto& [symbol, data] : graph.data_symbols)
    out += "  symbol " + symbol + " = %" + data.value->name() + " <= " + data.bound.to_string() + "\n";
  out += "  return";
  first = true;
  for (const Output& o : graph.outputs()) {
    out += (first ? " " : ", ") + quote(o.name) + " = %" + o.value->name();
    first = false;
  }
  return out + "\n}\n";
}

}  // namespace tenon::ir
