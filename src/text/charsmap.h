// The normalizer that a SentencePiece model carries ("precompiled_charsmap"): strings of a few code points and what
// they become, in a double-array trie (Aoe 1989; the units are laid out as by the Darts-clone library).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/units.h"

namespace tenon::text {

class Charsmap {
 public:
  // The map as its file has it: the trie's bytes as a 32-bit number, the trie, the texts, each closed by a zero byte.
  // Errors: bad-model; `where` begins the message.
  static Result<Charsmap> parse(std::string bytes, const std::string& where);
  const std::string& bytes() const { return bytes_; }

  // Replaces what the map knows, as Hugging Face `tokenizers` does: grapheme by grapheme where one is shorter than 6
  // bytes, and otherwise code point by code point.
  void apply(UnitText& text) const;

 private:
  // What the shortest key that begins `text` becomes.
  std::optional<std::string_view> find(std::string_view text) const;
  bool replace(const Unit* begin, const Unit* end, std::vector<Change>& changes) const;

  std::string bytes_;
  std::vector<uint32_t> trie_;
  size_t texts_ = 0;                  // offset of the texts in bytes_
  std::array<bool, 128> is_plain_{};  // ASCII that stays as it is
};

std::string base64_encode(std::string_view bytes);
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace tenon::text
