// Code points, their properties and UTF-8.
//
// Sets of code points are those of Hugging Face `tokenizers`, whose parts date from different versions of Unicode
// (categories: 8, normalisation: 9, white space, case and words: the latest). They stand in a generated table and so
// never change with the system's utf8proc, which gives what is stable by Unicode's policy: decompositions, combining
// classes and case of code points once assigned.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tenon::text {

enum CharFlag : uint16_t {
  kControl = 1,        // Cc, Cf or Co, except tab, line feed and carriage return
  kSpace = 2,          // White_Space
  kPunctuation = 4,    // category P, or ASCII punctuation such as $ and +
  kNonspacing = 8,     // category Mn
  kMark = 16,          // category M
  kOrdered = 32,       // has a canonical combining class
  kDecomposes = 64,    // has a canonical or compatibility decomposition (Hangul syllables have no flag)
  kWord = 128,         // \w of regular expressions
  kLetterClass = 256,  // \p{L}
  kNumberClass = 512,  // \p{N}
};

// CharFlags of all code points, built at the first call; `c` is at most 0x10FFFF.
const uint16_t* char_flag_table();
inline uint16_t char_flags(char32_t c) { return char_flag_table()[c]; }

// The blocks that BERT calls Chinese characters.
constexpr bool is_chinese(char32_t c) {
  return c >= 0x3400 && ((c >= 0x4E00 && c <= 0x9FFF) || c <= 0x4DBF || (c >= 0xF900 && c <= 0xFAFF) ||
                         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) ||
                         (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0x2F800 && c <= 0x2FA1F));
}
constexpr bool is_hangul_syllable(char32_t c) { return c >= 0xAC00 && c <= 0xD7A3; }

// The lower case of one code point: 1 code point, or 2 for U+0130. A final sigma is not special.
int to_lower(char32_t c, char32_t out[2]);

// The full decomposition of one code point (itself when it has none); returns the count.
constexpr int kMaxDecomposition = 18;
int decompose(char32_t c, bool compatibility, char32_t out[kMaxDecomposition]);
// 0 for starters.
uint8_t combining_class(char32_t c);
// The canonical composition of two code points, or 0.
char32_t compose(char32_t a, char32_t b);

// Writes one code point at `p` (up to 4 bytes) and returns the end.
inline char* write_utf8(char32_t c, char* p) {
  const auto put = [&p](char32_t byte) { *p++ = static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
    return p;
  }
  if (c < 0x800) {
    put(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xE0 | c >> 12);
    } else {
      put(0xF0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3F));
    }
    put(0x80 | (c >> 6 & 0x3F));
  }
  put(0x80 | (c & 0x3F));
  return p;
}
void append_utf8(std::string& out, char32_t c);
constexpr int utf8_length(char32_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }
// The code point at `p`, which is moved behind it. The text must be valid UTF-8.
inline char32_t next_code_point(const char*& p) {
  const auto byte = [&p] { return static_cast<char32_t>(static_cast<unsigned char>(*p++)); };
  const char32_t lead = byte();
  if (lead < 0x80) return lead;
  const auto tail = [&byte](char32_t c) { return c << 6 | (byte() & 0x3F); };
  if (lead < 0xE0) return tail(lead & 0x1F);
  if (lead < 0xF0) return tail(tail(lead & 0x0F));
  return tail(tail(tail(lead & 0x07)));
}
// The number of code points of valid UTF-8.
int64_t count_code_points(std::string_view text);

// The length of the longest valid prefix of `text`.
size_t valid_utf8_prefix(std::string_view text);

// Text with each maximal invalid part replaced by U+FFFD, and where its bytes came from.
class RepairedText {
 public:
  explicit RepairedText(std::string_view text);
  const std::string& text() const { return text_; }
  // The byte in the original text for a byte of text() at which a code point begins (or the end).
  int32_t original(int32_t byte) const;

 private:
  std::string text_;
  std::vector<std::pair<int32_t, int32_t>> shifts_;  // from this byte of text_ on: original minus repaired
};

}  // namespace tenon::text
