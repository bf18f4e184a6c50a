#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace tenon::text {
namespace {

struct CharRange {
  uint32_t first, last;
};
struct LowerRange {
  uint32_t first, last, lower;
};

#include "text/unicode_tables.inc"

constexpr uint32_t kCodePoints = 0x110000;

const uint16_t* build_flags() {
  static uint16_t flags[kCodePoints];
  const auto mark = [](const auto& ranges, CharFlag flag) {
    for (const CharRange& range : ranges) {
      for (uint32_t c = range.first; c <= range.last; ++c) flags[c] = static_cast<uint16_t>(flags[c] | flag);
    }
  };
  mark(kControlRanges, kControl);
  mark(kSpaceRanges, kSpace);
  mark(kPunctuationRanges, kPunctuation);
  mark(kNonspacingRanges, kNonspacing);
  mark(kMarkRanges, kMark);
  mark(kOrderedRanges, kOrdered);
  mark(kDecomposesRanges, kDecomposes);
  mark(kWordRanges, kWord);
  mark(kLetterRanges, kLetterClass);
  mark(kNumberRanges, kNumberClass);
  return flags;
}

// The length of the valid UTF-8 sequence at the start of `p`, or minus the length of the maximal invalid part there.
int sequence_length(const unsigned char* p, size_t left) {
  const unsigned char lead = p[0];
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return -1;
  const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and code points above U+10FFFF.
  unsigned char low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (int i = 1; i < length; ++i) {
    if (static_cast<size_t>(i) >= left || p[i] < low || p[i] > high) return -i;
    low = 0x80, high = 0xBF;
  }
  return length;
}

}  // namespace

const uint16_t* char_flag_table() {
  static const uint16_t* const table = build_flags();
  return table;
}

int to_lower(char32_t c, char32_t out[2]) {
  if (c == 0x130) {
    out[0] = 'i', out[1] = 0x307;
    return 2;
  }
  out[0] = c;
  for (const LowerRange& range : kYoungLowerRanges) {
    if (c < range.first) break;
    if (c <= range.last) {
      out[0] = range.lower + (c - range.first);
      return 1;
    }
  }
  out[0] = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  return 1;
}

int decompose(char32_t c, bool compatibility, char32_t out[kMaxDecomposition]) {
  out[0] = c;
  if (!is_hangul_syllable(c) && !(char_flags(c) & kDecomposes)) return 1;
  int boundary = 0;
  utf8proc_int32_t buffer[kMaxDecomposition];
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0));
  const auto count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), buffer, kMaxDecomposition, options, &boundary);
  if (count <= 0 || count > kMaxDecomposition) return 1;
  for (int i = 0; i < count; ++i) out[i] = static_cast<char32_t>(buffer[i]);
  return static_cast<int>(count);
}

uint8_t combining_class(char32_t c) {
  if (!(char_flags(c) & kOrdered)) return 0;
  return static_cast<uint8_t>(utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class);
}

char32_t compose(char32_t a, char32_t b) {
  utf8proc_int32_t pair[3] = {static_cast<utf8proc_int32_t>(a), static_cast<utf8proc_int32_t>(b), 0};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  if (utf8proc_normalize_utf32(pair, 2, options) != 1) return 0;
  const auto c = static_cast<char32_t>(pair[0]);
  return is_hangul_syllable(c) || (char_flags(c) & kDecomposes) ? c : 0;
}

void append_utf8(std::string& out, char32_t c) {
  char utf8[4];
  out.append(utf8, write_utf8(c, utf8));
}

int64_t count_code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

size_t valid_utf8_prefix(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const size_t size = text.size();
  size_t i = 0;
  while (i < size) {
    if (size - i >= 8) {
      uint64_t block;
      std::memcpy(&block, p + i, 8);
      if (!(block & 0x8080808080808080u)) {
        i += 8;
        continue;
      }
    }
    const int length = sequence_length(p + i, size - i);
    if (length < 0) break;
    i += static_cast<size_t>(length);
  }
  return i;
}

RepairedText::RepairedText(std::string_view text) {
  text_.reserve(text.size() + 16);
  size_t at = 0;
  while (at < text.size()) {
    const size_t good = valid_utf8_prefix(text.substr(at));
    text_.append(text, at, good);
    at += good;
    if (at == text.size()) break;
    at += static_cast<size_t>(
        -sequence_length(reinterpret_cast<const unsigned char*>(text.data()) + at, text.size() - at));
    append_utf8(text_, 0xFFFD);
    shifts_.emplace_back(static_cast<int32_t>(text_.size()),
                         static_cast<int32_t>(at) - static_cast<int32_t>(text_.size()));
  }
}

int32_t RepairedText::original(int32_t byte) const {
  const auto after = std::upper_bound(shifts_.begin(), shifts_.end(), byte,
                                      [](int32_t b, const auto& shift) { return b < shift.first; });
  return after == shifts_.begin() ? byte : byte + std::prev(after)->second;
}

}  // namespace tenon::text
