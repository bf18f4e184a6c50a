#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <unordered_map>

#include "base/checked.h"
#include "ir/text.h"

namespace tenon::ir {
namespace {

// More of these in one place is damage, not a model.
constexpr size_t kMaxRank = 64;
constexpr size_t kMaxAttrs = 64;

bool is_name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '/' || c == ':' || c == '-';
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view file) : text_(text), file_(file), graph_(std::make_unique<Graph>()) {}

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
    skip_space();
    if (pos_ != text_.size()) return fail("unexpected text after the graph");
    return std::move(graph_);
  }

 private:
  // ---- Characters and words ------------------------------------------------------------------------------------------

  Status fail(const std::string& why) const { return fail_at(pos_, why); }
  Status fail_at(size_t at, const std::string& why) const {
    const std::string_view before = text_.substr(0, at);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t newline = before.rfind('\n');
    const size_t column = newline == std::string_view::npos ? at + 1 : at - newline;
    return error(ErrorCode::kBadModel, "{}:{}:{}: {}", file_, line, column, why);
  }

  char peek() const { return pos_ < text_.size() ? text_[pos_] : '\0'; }

  void skip_space() {
    while (pos_ < text_.size()) {
      if (std::isspace(static_cast<unsigned char>(text_[pos_]))) {
        ++pos_;
      } else if (text_.substr(pos_, 2) == "//") {
        pos_ = std::min(text_.find('\n', pos_), text_.size());
      } else {
        return;
      }
    }
  }

  bool accept(char c) {
    skip_space();
    if (peek() != c || pos_ == text_.size()) return false;
    ++pos_;
    return true;
  }
  Status expect(char c) { return accept(c) ? Status() : fail(std::string("expected '") + c + "'"); }

  // A run of letters, digits and underscores.
  std::string_view peek_word() {
    skip_space();
    size_t end = pos_;
    while (end < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[end])) || text_[end] == '_')) ++end;
    return text_.substr(pos_, end - pos_);
  }
  bool accept_word(std::string_view word) {
    if (peek_word() != word) return false;
    pos_ += word.size();
    return true;
  }
  Result<std::string> word(const char* what) {
    const std::string_view w = peek_word();
    if (w.empty()) return fail(std::string("expected ") + what);
    pos_ += w.size();
    return std::string(w);
  }

  // %name. Names may hold ':', so before a type the last one is not the name's.
  Result<std::string> value_name(bool before_type) {
    TENON_TRY(expect('%'));
    const size_t begin = pos_;
    while (is_name_char(peek())) ++pos_;
    if (before_type && pos_ > begin && text_[pos_ - 1] == ':') --pos_;
    if (pos_ == begin) return fail("expected a name after '%'");
    return std::string(text_.substr(begin, pos_ - begin));
  }

  Result<std::string> quoted() {
    TENON_TRY(expect('"'));
    const size_t begin = pos_;
    std::string out;
    while (pos_ < text_.size() && text_[pos_] != '\n') {
      const char c = text_[pos_++];
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
      } else if (pos_ < text_.size()) {
        const char escaped = text_[pos_++];
        out += escaped == 'n' ? '\n' : escaped;
      }
    }
    return fail_at(begin, "unterminated string");
  }

  // ---- Types and attribute values ------------------------------------------------------------------------------------

  // "[" dims separated by commas "]", with the commas inside of parentheses left to the dims.
  Result<Shape> shape(size_t max_rank) {
    TENON_TRY(expect('['));
    Shape dims;
    if (accept(']')) return dims;
    size_t begin = pos_;
    for (int depth = 0; pos_ < text_.size(); ++pos_) {
      const char c = text_[pos_];
      depth += c == '(' ? 1 : (c == ')' ? -1 : 0);
      if (depth > 0 || (c != ',' && c != ']')) continue;
      Result<Dim> dim = Dim::parse(text_.substr(begin, pos_ - begin));
      if (!dim.ok()) return fail_at(begin, dim.status().message());
      if (dims.size() == max_rank) return fail_at(begin, "too many dimensions");
      dims.push_back(std::move(dim).value());
      begin = pos_ + 1;
      if (c == ']') {
        ++pos_;
        return dims;
      }
    }
    return fail_at(begin, "expected ']'");
  }

  Result<DType> dtype() {
    const std::string_view w = peek_word();
    const auto t = parse_dtype(w);
    if (!t) return fail(w.empty() ? "expected a type" : "unknown type \"" + std::string(w) + "\"");
    pos_ += w.size();
    return *t;
  }

  Result<TensorType> type() {
    TENON_ASSIGN(const DType t, dtype());
    TENON_ASSIGN(Shape dims, shape(kMaxRank));
    return TensorType{t, std::move(dims)};
  }

  bool at_number() {
    skip_space();
    const std::string_view w = peek_word();
    return peek() == '-' || std::isdigit(static_cast<unsigned char>(peek())) || w == "inf" || w == "nan";
  }

  // An integer, or a double when it has a point, an exponent or is not finite.
  Result<AttrValue> number() {
    skip_space();
    size_t end = pos_ + (peek() == '-' ? 1 : 0);
    const auto belongs = [&](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '.' ||
             ((c == '+' || c == '-') && (text_[end - 1] == 'e' || text_[end - 1] == 'E'));
    };
    while (end < text_.size() && belongs(text_[end])) ++end;
    const char *first = text_.data() + pos_, *last = text_.data() + end;
    const std::string_view token = text_.substr(pos_, end - pos_);
    AttrValue value = int64_t{0};
    std::from_chars_result result{};
    if (token.find_first_of(".eEn") == std::string_view::npos) {
      result = std::from_chars(first, last, std::get<int64_t>(value));
    } else {
      value = 0.0;
      result = std::from_chars(first, last, std::get<double>(value));
    }
    if (result.ec == std::errc::result_out_of_range) return fail("number out of range");
    if (result.ec != std::errc() || result.ptr != last) return fail("expected a number");
    pos_ = end;
    return value;
  }

  Result<std::vector<int64_t>> int_list() {
    TENON_TRY(expect('['));
    std::vector<int64_t> values;
    if (accept(']')) return values;
    do {
      TENON_ASSIGN(const AttrValue v, number());
      if (!std::holds_alternative<int64_t>(v)) return fail("expected an integer");
      values.push_back(std::get<int64_t>(v));
    } while (accept(','));
    TENON_TRY(expect(']'));
    return values;
  }

  Result<std::vector<double>> number_list() {
    TENON_TRY(expect('['));
    std::vector<double> values;
    if (accept(']')) return values;
    do {
      TENON_ASSIGN(const AttrValue v, number());
      const auto* integer = std::get_if<int64_t>(&v);
      values.push_back(integer != nullptr ? static_cast<double>(*integer) : std::get<double>(v));
    } while (accept(','));
    TENON_TRY(expect(']'));
    return values;
  }

  // One element of tensor data, appended as bytes.
  Status element(DType t, std::vector<std::byte>& bytes) {
    const size_t begin = pos_;
    TENON_ASSIGN(const AttrValue v, number());
    return visit_dtype(t, [&]<class T>() -> Status {
      T x{};
      if (const auto* i = std::get_if<int64_t>(&v)) {
        x = convert<T>(*i);
        if (!is_float(t) && convert<int64_t>(x) != *i) return fail_at(begin, "number out of range for " + std::string(dtype_name(t)));
      } else if (is_float(t)) {
        x = convert<T>(std::get<double>(v));
      } else {
        return fail_at(begin, "expected an integer");
      }
      const auto* raw = reinterpret_cast<const std::byte*>(&x);
      bytes.insert(bytes.end(), raw, raw + sizeof(T));
      return {};
    });
  }

  // Memory grows with the text, never with the shape that it claims.
  Result<Tensor> tensor() {
    skip_space();
    const size_t begin = pos_;
    TENON_ASSIGN(const TensorType t, type());
    const auto n = all_const(t.shape) ? checked_numel(const_values(t.shape)) : std::nullopt;
    if (!n || !checked_mul(*n, 8)) return fail_at(begin, "a tensor needs constant, sensible sizes");
    if (*n == 0 || !at_number()) return Tensor(t.dtype, const_values(t.shape));
    std::vector<std::byte> bytes;
    for (int64_t i = 0; i < *n; ++i) {
      if (i > 0) TENON_TRY(expect(','));
      TENON_TRY(element(t.dtype, bytes));
    }
    return Tensor::from(t.dtype, const_values(t.shape), bytes);
  }

  Result<AttrValue> attr_value() {
    if (at_number()) return number();
    if (peek() == '"') {
      TENON_ASSIGN(std::string s, quoted());
      return AttrValue(std::move(s));
    }
    if (peek() == '[') {
      TENON_ASSIGN(std::vector<int64_t> list, int_list());
      return AttrValue(std::move(list));
    }
    if (accept_word("dims")) {
      TENON_ASSIGN(Shape dims, shape(std::numeric_limits<size_t>::max()));
      return AttrValue(std::move(dims));
    }
    if (accept_word("numbers")) {
      TENON_ASSIGN(std::vector<double> list, number_list());
      return AttrValue(std::move(list));
    }
    if (accept_word("tensor")) {
      TENON_ASSIGN(Tensor t, tensor());
      return AttrValue(std::move(t));
    }
    if (!parse_dtype(peek_word())) return fail("expected an attribute value");
    TENON_ASSIGN(const DType t, dtype());
    return AttrValue(t);
  }

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

  std::string_view text_;
  std::string_view file_;
  size_t pos_ = 0;
  std::unique_ptr<Graph> graph_;
  std::unordered_map<std::string, Value*> values_;
};

}  // namespace

Result<std::unique_ptr<Graph>> parse(std::string_view text, std::string_view file) { return Parser(text, file).parse(); }

}  // namespace tenon::ir
