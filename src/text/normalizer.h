// Normalizers: what happens to a text before it is cut into words. Same results, code point by code point, and same
// origin of every code point as in Hugging Face `tokenizers`.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "text/charsmap.h"
#include "text/units.h"

namespace tenon::text {

class JsonNode;

struct BertNormalizer {
  bool clean_text = true;            // drop control characters, white space becomes a blank
  bool handle_chinese_chars = true;  // blanks around each
  bool strip_accents = true;
  bool lowercase = true;
};
struct UnicodeForm {
  bool compatibility;  // NFKC and NFKD
  bool composed;       // NFC and NFKC
};
struct Lowercase {};
struct StripAccents {};
struct StripSpace {
  bool left, right;
};
struct Replace {
  std::string pattern, content;  // UTF-8; an empty pattern matches nothing
};

// Runs of at least `least` blanks, or of white space of any kind, become `content`.
struct ReplaceSpaces {
  bool any_space;
  size_t least;
  bool line_ends;  // a line end or tab alone too
  std::string content;
};
struct Prepend {
  std::string content;  // before a text that is not empty
};
struct Nmt {};  // SentencePiece's rule "nmt": control characters go, white space of all kinds becomes a blank
struct Precompiled {
  std::shared_ptr<const Charsmap> map;
};

class Normalizer {
 public:
  using Step = std::variant<BertNormalizer, UnicodeForm, Lowercase, StripAccents, StripSpace, Replace, ReplaceSpaces,
                            Prepend, Nmt, Precompiled>;

  Normalizer() = default;  // changes nothing
  explicit Normalizer(std::vector<Step> steps) : steps_(std::move(steps)) {}
  // The "normalizer" object of a tokenizer.json. Errors: bad-model, unsupported.
  static Result<Normalizer> from_json(const JsonNode& node);
  nlohmann::json to_json() const;

  void apply(UnitText& text) const;
  std::string apply(std::string_view utf8) const;
  // The only step, if it is BERT's.
  const BertNormalizer* as_bert() const;

 private:
  std::vector<Step> steps_;
};

}  // namespace tenon::text
