// Pre-tokenizers: how a normalised text is cut into words.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/status.h"
#include "text/units.h"

namespace tenon::text {

class JsonNode;

class PreTokenizer {
 public:
  enum class Kind {
    kBert,             // at white space, which is dropped, and around each punctuation mark
    kWhitespace,       // runs of \w and runs of what is neither \w nor white space
    kWhitespaceSplit,  // at white space
    kPunctuation,      // at punctuation, which goes where Delimiter says
  };
  // What becomes of each delimiter.
  enum class Delimiter { kIsolated, kRemoved, kContiguous, kMergedWithPrevious, kMergedWithNext };
  struct Step {
    Kind kind;
    Delimiter delimiter = Delimiter::kIsolated;
  };

  PreTokenizer() = default;  // the text is one word
  explicit PreTokenizer(std::vector<Step> steps) : steps_(std::move(steps)) {}
  // The "pre_tokenizer" object of a tokenizer.json. Errors: bad-model, unsupported.
  static Result<PreTokenizer> from_json(const JsonNode& node);
  nlohmann::json to_json() const;

  // Replaces `words` by the words of units[range].
  void split(const std::vector<Unit>& units, UnitRange range, std::vector<UnitRange>& words) const;
  bool is_bert() const { return steps_.size() == 1 && steps_[0].kind == Kind::kBert; }

 private:
  std::vector<Step> steps_;
};

}  // namespace tenon::text
