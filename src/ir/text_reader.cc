#include "ir/text_reader.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>

#include "base/checked.h"

namespace tenon::ir {

bool TextReader::is_name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '/' || c == ':' || c == '-';
}

size_t TextReader::line_of(size_t at) const {
  const std::string_view before = text_.substr(0, at);
  return static_cast<size_t>(std::count(before.begin(), before.end(), '\n')) + 1;
}

bool TextReader::at_end() {
  skip_space();
  return pos_ == text_.size();
}

bool TextReader::accept_symbol(std::string_view symbol) {
  skip_space();
  if (text_.substr(pos_, symbol.size()) != symbol) return false;
  pos_ += symbol.size();
  return true;
}

Status TextReader::fail_at(size_t at, const std::string& why) const {
  const size_t newline = text_.substr(0, at).rfind('\n');
  const size_t column = newline == std::string_view::npos ? at + 1 : at - newline;
  return error(ErrorCode::kBadModel, "{}:{}:{}: {}", file_, line_of(at), column, why);
}

void TextReader::skip_space() {
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

bool TextReader::accept(char c) {
  skip_space();
  if (peek() != c || pos_ == text_.size()) return false;
  ++pos_;
  return true;
}
Status TextReader::expect(char c) { return accept(c) ? Status() : fail(std::string("expected '") + c + "'"); }

std::string_view TextReader::peek_word() {
  skip_space();
  size_t end = pos_;
  while (end < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[end])) || text_[end] == '_')) ++end;
  return text_.substr(pos_, end - pos_);
}
bool TextReader::accept_word(std::string_view word) {
  if (peek_word() != word) return false;
  pos_ += word.size();
  return true;
}
Result<std::string> TextReader::word(const char* what) {
  const std::string_view w = peek_word();
  if (w.empty()) return fail(std::string("expected ") + what);
  pos_ += w.size();
  return std::string(w);
}

Result<std::string> TextReader::value_name(bool before_type) {
  TENON_TRY(expect('%'));
  const size_t begin = pos_;
  while (is_name_char(peek())) ++pos_;
  if (before_type && pos_ > begin && text_[pos_ - 1] == ':') --pos_;
  if (pos_ == begin) return fail("expected a name after '%'");
  return std::string(text_.substr(begin, pos_ - begin));
}

Result<std::string> TextReader::quoted() {
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

Result<Shape> TextReader::shape(size_t max_rank) {
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

Result<DType> TextReader::dtype() {
  const std::string_view w = peek_word();
  const auto t = parse_dtype(w);
  if (!t) return fail(w.empty() ? "expected a type" : "unknown type \"" + std::string(w) + "\"");
  pos_ += w.size();
  return *t;
}

Result<TensorType> TextReader::type() {
  TENON_ASSIGN(const DType t, dtype());
  TENON_ASSIGN(Shape dims, shape(kMaxRank));
  return TensorType{t, std::move(dims)};
}

bool TextReader::at_number() {
  skip_space();
  const std::string_view w = peek_word();
  return peek() == '-' || std::isdigit(static_cast<unsigned char>(peek())) || w == "inf" || w == "nan";
}

Result<AttrValue> TextReader::number() {
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

Result<std::vector<int64_t>> TextReader::int_list() {
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

Result<std::vector<double>> TextReader::number_list() {
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

Status TextReader::element(DType t, std::vector<std::byte>& bytes) {
  const size_t begin = pos_;
  TENON_ASSIGN(const AttrValue v, number());
  return visit_dtype(t, [&]<class T>() -> Status {
    T x{};
    if (const auto* i = std::get_if<int64_t>(&v)) {
      x = convert<T>(*i);
      if (!is_float(t) && convert<int64_t>(x) != *i)
        return fail_at(begin, "number out of range for " + std::string(dtype_name(t)));
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

Result<Tensor> TextReader::tensor() {
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

Result<AttrValue> TextReader::attr_value() {
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

}  // namespace tenon::ir
