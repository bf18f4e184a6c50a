#include <algorithm>
#include <cctype>
#include <unordered_map>

#include "ir/text.h"
#include "ir/text_reader.h"

namespace tenon::ir {
namespace {

class Parser : private TextReader {
 public:
  Parser(std::string_view text, std::string_view file) : TextReader(text, file), graph_(std::make_unique<Graph>()) {}

  Result<std::unique_ptr<Graph>> parse() {
    TENON_TRY(header());
    while (!accept_word("return")) {
      if (accept_word("symbol")) {
        TENON_TRY(symbol());
      } else {
        TENON_TRY(node());
      }
    }
    TENON_TRY(outputs());
    TENON_TRY(expect('}'));
    if (!at_end()) return fail("unexpected text after the graph");
    return std::move(graph_);
  }

 private:
  Result<Attrs> attrs() {
    Attrs out;
    if (!accept('{') || accept('}')) return out;
    do {
      skip_space();
      const size_t begin = pos_;
      TENON_ASSIGN(const std::string name, word("an attribute name"));
      if (out.find(name) != nullptr) return fail_at(begin, "attribute " + name + " is given twice");
      if (out.all().size() == kMaxAttrs) return fail_at(begin, "too many attributes");
      TENON_TRY(expect('='));
      TENON_ASSIGN(AttrValue value, attr_value());
      out.set(name, std::move(value));
    } while (accept(','));
    TENON_TRY(expect('}'));
    return out;
  }

  // ---- The graph -----------------------------------------------------------------------------------------------------

  Status header() {
    if (!accept_word("graph")) return fail("expected \"graph\"");
    TENON_TRY(expect('@'));
    if (peek() == '"') {
      TENON_ASSIGN(graph_->name, quoted());
    } else {
      const size_t begin = pos_;
      while (is_name_char(peek())) ++pos_;
      graph_->name = std::string(text_.substr(begin, pos_ - begin));
    }
    TENON_TRY(expect('('));
    if (!accept(')')) {
      do {
        skip_space();
        const size_t begin = pos_;
        TENON_ASSIGN(std::string name, value_name(true));
        TENON_TRY(expect(':'));
        TENON_ASSIGN(TensorType t, type());
        if (values_.contains(name)) return fail_at(begin, "%" + name + " is defined twice");
        values_[name] = graph_->add_input(name, std::move(t));
      } while (accept(','));
      TENON_TRY(expect(')'));
    }
    return expect('{');
  }

  Result<Value*> use() {
    skip_space();
    const size_t begin = pos_;
    TENON_ASSIGN(const std::string name, value_name(false));
    const auto it = values_.find(name);
    if (it == values_.end()) return fail_at(begin, "%" + name + " is not defined");
    return it->second;
  }

  Status node() {
    skip_space();
    const size_t begin = pos_;
    if (peek() != '%') return fail("expected a node, \"symbol\" or \"return\"");
    std::vector<std::string> names;
    std::vector<TensorType> types;
    do {
      TENON_ASSIGN(std::string name, value_name(true));
      if (values_.contains(name) || std::ranges::find(names, name) != names.end()) {
        return fail_at(begin, "%" + name + " is defined twice");
      }
      if (names.size() == kMaxRank) return fail_at(begin, "too many results");
      names.push_back(std::move(name));
      types.emplace_back();
      if (accept(':')) {
        TENON_ASSIGN(types.back(), type());
      }
    } while (accept(','));
    TENON_TRY(expect('='));
    skip_space();
    const size_t op_at = pos_;
    TENON_ASSIGN(const std::string op_text, word("an operator"));
    const auto op = parse_op(op_text);
    if (!op) return fail_at(op_at, "unknown operator \"" + op_text + "\"");
    std::vector<Value*> inputs;
    TENON_TRY(operands(inputs));
    TENON_ASSIGN(Attrs attributes, attrs());
    Node* made = graph_->add_node(*op, std::move(inputs), std::move(attributes), std::move(types));
    for (int i = 0; i < made->num_outputs(); ++i) {
      std::string& name = names[static_cast<size_t>(i)];
      (void)graph_->unique_name(name);  // taken from now on
      made->output(i)->set_name(name);
      values_[std::move(name)] = made->output(i);
    }
    if (accept_word("from")) {
      TENON_ASSIGN(std::string origin, quoted());
      made->set_origin(std::move(origin));
    }
    return {};
  }

  Status operands(std::vector<Value*>& inputs) {
    if (!accept('(') || accept(')')) return {};
    do {
      if (accept('_')) {
        inputs.push_back(nullptr);
      } else {
        TENON_ASSIGN(Value * value, use());
        inputs.push_back(value);
      }
    } while (accept(','));
    return expect(')');
  }

  // symbol tokens = %count <= batch*seq
  Status symbol() {
    skip_space();
    const size_t begin = pos_;
    while (pos_ < text_.size() && !std::isspace(static_cast<unsigned char>(peek())) && peek() != '=') ++pos_;
    const std::string name(text_.substr(begin, pos_ - begin));
    if (name.empty()) return fail("expected a symbol");
    if (graph_->data_symbols.contains(name)) return fail_at(begin, "symbol " + name + " is defined twice");
    TENON_TRY(expect('='));
    TENON_ASSIGN(Value * value, use());
    TENON_TRY(expect('<'));
    if (peek() != '=') return fail("expected \"<=\"");
    ++pos_;
    skip_space();
    const size_t bound_at = pos_;
    const size_t end = std::min({text_.find('\n', pos_), text_.find("//", pos_), text_.size()});
    std::string_view bound_text = text_.substr(pos_, end - pos_);
    while (!bound_text.empty() && std::isspace(static_cast<unsigned char>(bound_text.back()))) bound_text.remove_suffix(1);
    Result<Dim> bound = Dim::parse(bound_text);
    if (!bound.ok()) return fail_at(bound_at, bound.status().message());
    pos_ = end;
    graph_->data_symbols[name] = {value, std::move(bound).value()};
    return {};
  }

  Status outputs() {
    skip_space();
    if (peek() != '"') return {};
    do {
      TENON_ASSIGN(std::string name, quoted());
      TENON_TRY(expect('='));
      TENON_ASSIGN(Value * value, use());
      graph_->add_output(std::move(name), value);
    } while (accept(','));
    return {};
  }

  std::unique_ptr<Graph> graph_;
  std::unordered_map<std::string, Value*> values_;
};

}  // namespace

Result<std::unique_ptr<Graph>> parse(std::string_view text, std::string_view file) { return Parser(text, file).parse(); }

}  // namespace tenon::ir
