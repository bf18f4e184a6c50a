// Characters, words, types and attribute values of the IR's text form (ir/text.h): what graphs and pattern files share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace tenon::ir {

// Reads from left to right; memory grows with the text, never with what it claims. Errors: bad-model, as
// "file:line:column: cause".
class TextReader {
 public:
  TextReader(std::string_view text, std::string_view file) : text_(text), file_(file) {}

 protected:
  // More of these in one place is damage, not a model.
  static constexpr size_t kMaxRank = 64;
  static constexpr size_t kMaxAttrs = 64;

  Status fail(const std::string& why) const { return fail_at(pos_, why); }
  Status fail_at(size_t at, const std::string& why) const;
  size_t line_of(size_t at) const;  // from 1

  char peek() const { return pos_ < text_.size() ? text_[pos_] : '\0'; }
  void skip_space();  // and comments
  bool at_end();
  bool accept(char c);
  Status expect(char c);
  bool accept_symbol(std::string_view symbol);  // "=>"
  // A run of letters, digits and underscores.
  std::string_view peek_word();
  bool accept_word(std::string_view word);
  Result<std::string> word(const char* what);
  static bool is_name_char(char c);
  // %name. Names may hold ':', so before a type the last one is not the name's.
  Result<std::string> value_name(bool before_type);
  Result<std::string> quoted();

  // "[" dims separated by commas "]", with the commas inside of parentheses left to the dims.
  Result<Shape> shape(size_t max_rank);
  Result<DType> dtype();
  Result<TensorType> type();
  bool at_number();
  // An integer, or a double when it has a point, an exponent or is not finite.
  Result<AttrValue> number();
  Result<Tensor> tensor();
  Result<AttrValue> attr_value();

  std::string_view text_;
  std::string_view file_;
  size_t pos_ = 0;

 private:
  Result<std::vector<int64_t>> int_list();
  Result<std::vector<double>> number_list();
  // One element of tensor data, appended as bytes.
  Status element(DType t, std::vector<std::byte>& bytes);
};

}  // namespace tenon::ir
