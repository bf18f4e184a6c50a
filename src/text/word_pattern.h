// The regular expressions that tokenizers cut texts with, written out by hand: a handful of them serves all models.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/units.h"

namespace tenon::text {

class WordPattern {
 public:
  enum Kind {
    kGpt2,    // GPT-2, RoBERTa, ModernBERT
    kClip,    // CLIP: no white space, digits alone
    kLlama3,  // Llama 3: digits in threes, line ends alone
    kQwen2,   // Qwen 2: the same, digits alone
  };

  explicit WordPattern(Kind kind) : kind_(kind) {}
  // Nothing when `regex` is none of those known.
  static std::optional<WordPattern> from_regex(std::string_view regex);
  std::string_view regex() const;

  // The end of the match that begins at `begin`; `begin` where there is none. begin < end <= units.size().
  size_t match(const std::vector<Unit>& units, size_t begin, size_t end) const;

 private:
  Kind kind_;
};

}  // namespace tenon::text
