#include "text/unicode.h"

#include <gtest/gtest.h>

namespace tenon::text {
namespace {

std::u32string decomposed(char32_t c, bool compatibility = false) {
  char32_t out[kMaxDecomposition];
  return {out, out + decompose(c, compatibility, out)};
}

std::u32string lower(char32_t c) {
  char32_t out[2];
  return {out, out + to_lower(c, out)};
}

TEST(Unicode, KnowsThePropertiesThatBertAsksFor) {
  EXPECT_EQ(char_flags('a'), kWord | kLetterClass);
  EXPECT_EQ(char_flags('7'), kWord | kNumberClass);
  EXPECT_EQ(char_flags('\n'), kSpace);
  EXPECT_EQ(char_flags(0x0B), kSpace | kControl);
  EXPECT_EQ(char_flags('$'), kPunctuation);
  EXPECT_EQ(char_flags('_'), kPunctuation | kWord);
  EXPECT_EQ(char_flags(0x200B), kControl);
  EXPECT_EQ(char_flags(0x3000), kSpace | kDecomposes);
  EXPECT_TRUE(char_flags(0x301) & kNonspacing);
  EXPECT_TRUE(char_flags(0xE000) & kControl);
  EXPECT_FALSE(char_flags(0x10FFFF));
}

// Categories are those of Unicode 8, whatever version utf8proc is of.
TEST(Unicode, IsAsOldAsTheReference) {
  EXPECT_FALSE(char_flags(0x2E43) & kPunctuation);  // a dash of Unicode 9
  EXPECT_FALSE(char_flags(0x07FD) & kNonspacing);   // a mark of Unicode 11
  EXPECT_EQ(combining_class(0x07FD), 0);
  EXPECT_EQ(decomposed(0x11938), U"\U00011938");  // a vowel of Unicode 13
}

TEST(Unicode, LowercasesEachCodePointAlone) {
  EXPECT_EQ(lower('A'), U"a");
  EXPECT_EQ(lower(0x130), U"i\u0307");
  EXPECT_EQ(lower(0x3A3), U"\u03c3");  // never the final sigma
  EXPECT_EQ(lower(0x1E9E), U"\u00df");
  EXPECT_EQ(lower(0x10D50), U"\U00010d70");  // a letter of Unicode 16
  EXPECT_EQ(lower(0x16EB8), U"\U00016ed3");  // and of 17
}

TEST(Unicode, DecomposesAndComposes) {
  EXPECT_EQ(decomposed(0xE9), U"e\u0301");
  EXPECT_EQ(decomposed(0x1E69), U"s\u0323\u0307");
  EXPECT_EQ(decomposed(0xAC01), U"\u1100\u1161\u11a8");
  EXPECT_EQ(decomposed(0xFB01), U"\ufb01");
  EXPECT_EQ(decomposed(0xFB01, true), U"fi");
  EXPECT_EQ(decomposed(0xFDFA, true).size(), size_t{kMaxDecomposition});
  EXPECT_EQ(compose('e', 0x301), U'\u00e9');
  EXPECT_EQ(compose(0x1100, 0x1161), U'\uac00');
  EXPECT_EQ(compose('x', 0x301), 0u);
  EXPECT_EQ(compose(0x915, 0x93C), 0u);  // excluded from composition
  EXPECT_EQ(compose(0x11935, 0x11930), 0u);
}

TEST(Unicode, RoundTripsEveryCodePointThroughUtf8) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    std::string text;
    append_utf8(text, c);
    ASSERT_EQ(static_cast<int>(text.size()), utf8_length(c));
    const bool surrogate = c >= 0xD800 && c < 0xE000;
    ASSERT_EQ(valid_utf8_prefix(text), surrogate ? 0 : text.size());
    if (surrogate) continue;
    const char* p = text.data();
    ASSERT_EQ(next_code_point(p), c);
    ASSERT_EQ(p, text.data() + text.size());
  }
}

TEST(Unicode, FindsTheFirstInvalidByte) {
  EXPECT_EQ(valid_utf8_prefix("plain text of some length"), 25u);
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3", "\xE4\xB8", "\xF0\x9F\x98"}) {
    EXPECT_EQ(valid_utf8_prefix(std::string("0123456789\u00e9") + bad), 12u);
    EXPECT_EQ(valid_utf8_prefix(std::string("0123456789\u00e9") + bad + "tail"), 12u);
  }
}

TEST(Unicode, RepairsEachMaximalInvalidPartOnce) {
  const auto repaired = [](std::string_view text) { return RepairedText(text).text(); };
  EXPECT_EQ(repaired("a\xFF\xFE"
                     "b"),
            "a\ufffd\ufffdb");
  EXPECT_EQ(repaired("\xE4\xB8"), "\ufffd");
  EXPECT_EQ(repaired("\xE4\xB8\xE4\xB8\xAD"), "\ufffd\u4e2d");
  EXPECT_EQ(repaired("\xF0\x9F\x98x"), "\ufffdx");
  EXPECT_EQ(repaired("\xED\xA0\x80"), "\ufffd\ufffd\ufffd");
  const RepairedText text(
      "a\xF0\x9F"
      "b\xFF"
      "c");
  EXPECT_EQ(text.text(), "a\ufffdb\ufffdc");
  EXPECT_EQ(text.original(0), 0);
  EXPECT_EQ(text.original(1), 1);
  EXPECT_EQ(text.original(4), 3);
  EXPECT_EQ(text.original(5), 4);
  EXPECT_EQ(text.original(8), 5);
  EXPECT_EQ(text.original(9), 6);
}

}  // namespace
}  // namespace tenon::text
