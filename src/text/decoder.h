// Decoders: tokens back to text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace tenon::text {

class JsonNode;

// "##ing" joins the token before it.
struct WordPieceDecoder {
  std::string prefix = "##";
  bool cleanup = true;  // no blank before punctuation and English contractions
};
struct ByteLevelDecoder {};  // characters back to the bytes that they stand for
struct MetaspaceDecoder {
  std::string replacement;  // becomes a blank …
  bool drop_first;          // … but within the first token
};
struct SuffixDecoder {
  std::string suffix;  // ends a word
};
struct ReplaceDecoder {
  std::string pattern, content;
};
struct ByteFallbackDecoder {};  // <0x41> to the byte
struct FuseDecoder {};          // all tokens become one
// Takes up to so many of one character off the ends of each token.
struct StripDecoder {
  std::string content;
  size_t left, right;
};

// Steps, each from tokens to tokens; the last ones are joined. Without steps blanks stand between tokens.
class Decoder {
 public:
  using Step = std::variant<WordPieceDecoder, ByteLevelDecoder, MetaspaceDecoder, SuffixDecoder, ReplaceDecoder,
                            ByteFallbackDecoder, FuseDecoder, StripDecoder>;

  Decoder() = default;
  explicit Decoder(std::vector<Step> steps) : steps_(std::move(steps)) {}
  // The "decoder" object of a tokenizer.json. Errors: bad-model, unsupported.
  static Result<Decoder> from_json(const JsonNode& node);
  nlohmann::json to_json() const;

  std::string decode(const std::vector<std::string_view>& tokens) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace tenon::text
