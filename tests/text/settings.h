// What every setting of the goldens must do, whichever its model.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace tenon::text {

using TokenizerPtr = std::shared_ptr<const Tokenizer>;

// The tokenizer, and what is read again of what it writes: it must do the same.
inline std::vector<TokenizerPtr> with_copy(const TokenizerPtr& tokenizer) {
  const auto again = Tokenizer::deserialize(tokenizer->serialize());
  EXPECT_TRUE(again.ok()) << again.status().message();
  if (!again.ok()) return {tokenizer};
  EXPECT_EQ((*again)->serialize(), tokenizer->serialize());
  return {tokenizer, *again};
}

// Ids with their text, and their text with special tokens.
inline void expect_decoded(const Tokenizer& tokenizer, const nlohmann::json& rows) {
  for (const nlohmann::json& row : rows) {
    const auto ids = row[0].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.decode(ids), row[1].get<std::string>()) << row[0];
    EXPECT_EQ(tokenizer.decode(ids, false), row[2].get<std::string>()) << row[0];
  }
}

}  // namespace tenon::text
