// Text on its way through a normalizer: code points that remember which source character they came from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::text {

struct Unit {
  char32_t c;
  int32_t source;  // index of the source code point
};

// One code point of a transformed text. `change` says how it relates to the text before:
// 1: inserted, 0: replaces the next old code point, -n: replaces the next one and swallows n more.
struct Change {
  char32_t c;
  int32_t change;
};

// A piece of source text and its normal form; reused from text to text so that its memory is.
struct UnitText {
  std::vector<Unit> units;
  std::vector<int32_t> starts;  // byte offset of each source code point, and the end

  // Fills both from valid UTF-8 that starts at byte `base` of the whole text.
  void assign(std::string_view utf8, int32_t base);
  // Replaces the units by `changes`, after dropping `dropped` old code points. An inserted code point takes the source
  // of the old one before it.
  void apply(std::span<const Change> changes, int32_t dropped);
};

// Words are ranges [begin, end) of units.
struct UnitRange {
  size_t begin, end;
};

// Replaces `out` by the UTF-8 of `units`.
void encode_utf8(std::span<const Unit> units, std::string& out);

}  // namespace tenon::text
