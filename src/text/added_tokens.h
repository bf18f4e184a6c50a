// Tokens that stand beside the model: found in the text before it is normalised and cut (special tokens such as
// [MASK]), or, if they say so, in the normalised text.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/string_index.h"

namespace tenon::text {

class JsonNode;
class Normalizer;
class Vocabulary;

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool single_word = false;  // matches only where no word character touches it
  bool lstrip = false;       // takes the white space on its left too
  bool rstrip = false;
  bool normalized = false;  // is itself normalised, and looked for in the normalised text
  bool special = false;     // left out when ids are decoded
};

// Finds the leftmost, longest of a set of patterns.
class PatternSet {
 public:
  struct Hit {
    size_t begin, end;  // bytes
    int32_t value;
  };
  PatternSet() = default;
  // Of equal patterns the first counts; empty ones match nothing.
  explicit PatternSet(const std::vector<std::pair<std::string, int32_t>>& patterns);
  bool empty() const { return lengths_.empty(); }
  // The first match that begins at or behind `from`.
  std::optional<Hit> find(std::string_view text, size_t from) const;

 private:
  std::unique_ptr<const std::string> bytes_;
  StringIndex index_;
  std::vector<size_t> lengths_;  // of the patterns, falling
  std::array<bool, 256> first_byte_{};
  int only_first_byte_ = -1;  // if all patterns begin with the same
};

class AddedTokens {
 public:
  // A part of a text: an added token, or (id -1) what lies between.
  struct Part {
    size_t begin, end;  // bytes
    int32_t id;
    size_t match_begin, match_end;  // without the white space that the token took
  };

  // Resolves ids as `tokenizers` does: a token of the vocabulary keeps its id there, any other gets the next free one.
  // `tokens` carry the ids that the file states; others only cause a warning. Errors: bad-model.
  static Result<AddedTokens> build(std::vector<AddedToken> tokens, const Vocabulary& vocabulary,
                                   const Normalizer& normalizer, const std::string& where);
  // One element of "added_tokens" of a tokenizer.json; its id is -1 when not stated.
  static Result<AddedToken> token_from_json(const JsonNode& node);
  nlohmann::json to_json() const;

  // Cuts source text at the tokens that are looked for there, normalised text at the others. Replaces `parts`.
  void split_source(std::string_view text, std::vector<Part>& parts) const { split(source_, text, parts); }
  void split_normalized(std::string_view text, std::vector<Part>& parts) const { split(normalized_, text, parts); }
  bool any_normalized() const { return !normalized_.empty(); }

  const AddedToken* find(std::string_view content) const;
  const AddedToken* find(int32_t id) const;
  int32_t beyond_vocabulary() const { return beyond_vocabulary_; }  // count of tokens that the vocabulary lacks

 private:
  void split(const PatternSet& patterns, std::string_view text, std::vector<Part>& parts) const;

  std::vector<AddedToken> tokens_;
  std::map<std::string, size_t, std::less<>> by_content_;
  std::map<int32_t, size_t> by_id_;
  PatternSet source_, normalized_;
  int32_t beyond_vocabulary_ = 0;
};

}  // namespace tenon::text
