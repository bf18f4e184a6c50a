// Decoders: tokens back to text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tenon::text {

class JsonNode;

// The decoder of WordPiece; a tokenizer without one puts a blank between tokens.
class Decoder {
 public:
  Decoder() = default;
  static Decoder wordpiece(std::string prefix = "##", bool cleanup = true);
  // The "decoder" object of a tokenizer.json. Errors: bad-model, unsupported.
  static Result<Decoder> from_json(const JsonNode& node);
  nlohmann::json to_json() const;

  std::string decode(const std::vector<std::string_view>& tokens) const;

 private:
  bool wordpiece_ = false;
  std::string prefix_;
  bool cleanup_ = false;  // no blank before punctuation and English contractions
};

}  // namespace tenon::text
