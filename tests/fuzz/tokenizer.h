// What is asked of a tokenizer that loads: it must encode, write itself and read itself again.
#pragma once

#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace tenon::fuzz {

inline void use(const text::Tokenizer& tokenizer, std::initializer_list<std::string_view> texts) {
  for (const std::string_view text : texts) {
    const Encoding row = tokenizer.encode(text);
    tokenizer.encode_pair(text, "b", {.max_length = 7});
    tokenizer.encode_windows("a", text, 9, 2);
    tokenizer.decode(row.ids);
  }
  const std::string blob = tokenizer.serialize();
  const auto again = text::Tokenizer::deserialize(blob);
  if (!again.ok() || (*again)->serialize() != blob) std::abort();
}

}  // namespace tenon::fuzz
