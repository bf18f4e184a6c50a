// What stands beside a tokenizer's vocabulary: tokenizer_config.json and special_tokens_map.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "text/added_tokens.h"

namespace tenon::text {

// Empty, unset or 0: the files do not say it.
struct TokenizerConfig {
  std::string tokenizer_class;
  std::string cls, sep, pad, mask, unk, bos, eos;
  std::optional<bool> lowercase, strip_accents, chinese, keep_accents, add_prefix_space;
  int32_t model_max_length = 0;  // tokens
  std::vector<AddedToken> added;
};

// Errors: io, bad-model. Files that are not there say nothing.
Result<TokenizerConfig> read_tokenizer_config(const std::string& dir);

// The bytes of a file, or nothing where there is none. Errors: io.
Result<std::optional<std::string>> read_optional_file(const std::string& path);

}  // namespace tenon::text
