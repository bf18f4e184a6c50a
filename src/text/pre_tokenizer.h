// Pre-tokenizers: how a normalised text is cut into words, and how these are written for the model.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "text/units.h"
#include "text/word_pattern.h"

namespace tenon::text {

class JsonNode;

// What becomes of what a text is cut at.
enum class Delimiter { kIsolated, kRemoved, kContiguous, kMergedWithPrevious, kMergedWithNext };

struct BertWords {};        // at white space, which is dropped, and around each punctuation mark
struct WhitespaceWords {};  // runs of \w and runs of what is neither \w nor white space
struct WhitespaceSplit {};  // at white space
struct PunctuationSplit {
  Delimiter delimiter = Delimiter::kIsolated;
};
struct DigitsSplit {
  bool individual = false;  // else runs of digits stay together
};
// At a literal text.
struct LiteralSplit {
  std::string literal;
  Delimiter delimiter = Delimiter::kIsolated;
  bool invert = false;  // the literal is what is kept, and all else the delimiter
};
// At the matches of a pattern.
struct PatternSplit {
  WordPattern pattern;
  Delimiter delimiter = Delimiter::kIsolated;
  bool invert = false;
};
// Words by GPT-2's pattern, their bytes written as printable characters.
struct ByteLevel {
  bool add_prefix_space = true;  // a blank before a text that has none
  bool use_pattern = true;       // else the bytes only
};
// SentencePiece's way to write blanks: words begin with U+2581.
struct Metaspace {
  enum class Prepend { kAlways, kFirst, kNever };  // before a text that has none; kFirst: at the start of the source
  char32_t replacement = 0x2581;
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};

class PreTokenizer {
 public:
  using Step = std::variant<BertWords, WhitespaceWords, WhitespaceSplit, PunctuationSplit, DigitsSplit, LiteralSplit,
                            PatternSplit, ByteLevel, Metaspace>;
  // The words of a part of a text; reused so that its memory is.
  struct Words {
    const std::vector<Unit>* units = nullptr;  // that `ranges` refer to
    std::vector<UnitRange> ranges;
    bool at_start = false;  // the part stands at the start of its source and is not cut yet
    // The steps' own memory.
    std::vector<Unit> written[2];
    std::vector<UnitRange> next;
  };

  PreTokenizer() = default;  // the text is one word
  explicit PreTokenizer(std::vector<Step> steps) : steps_(std::move(steps)) {}
  // The "pre_tokenizer" object of a tokenizer.json. Errors: bad-model, unsupported.
  static Result<PreTokenizer> from_json(const JsonNode& node);
  nlohmann::json to_json() const;

  // Replaces `words` by the words of units[range]; `first`: index in the source of units whose source is 0.
  void split(const std::vector<Unit>& units, UnitRange range, int32_t first, Words& words) const;
  bool is_bert() const { return steps_.size() == 1 && std::holds_alternative<BertWords>(steps_[0]); }

 private:
  std::vector<Step> steps_;
};

// The character that stands for a byte in byte-level tokens, and back (-1: none).
char32_t character_of_byte(uint8_t byte);
int byte_of_character(char32_t c);

}  // namespace tenon::text
