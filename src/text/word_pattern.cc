#include "text/word_pattern.h"

#include <array>

#include "text/unicode.h"

namespace tenon::text {
namespace {

// In the order of WordPattern::Kind.
constexpr std::array<std::string_view, 4> kRegexes = {
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
    R"('s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
};

enum Class : uint16_t { kOtherClass = 0, kSpaceClass = kSpace, kLetters = kLetterClass, kNumbers = kNumberClass };

// A text to be matched from `at` on.
struct Cursor {
  const Unit* at;
  const Unit* end;
  const uint16_t* flags = char_flag_table();

  Class class_of(const Unit* unit) const {
    return static_cast<Class>(flags[unit->c] & (kSpace | kLetterClass | kNumberClass));
  }
  // The end of the run of `c` that begins at `unit`.
  const Unit* run(const Unit* unit, Class c) const {
    while (unit != end && class_of(unit) == c) ++unit;
    return unit;
  }
  static bool ends_line(const Unit* unit) { return unit->c == '\r' || unit->c == '\n'; }

  // 's|'t|'re|'ve|'m|'ll|'d; 0: none of them.
  size_t contraction(bool any_case) const {
    if (at->c != '\'' || end - at < 2) return 0;
    const auto letter = [&](const Unit* unit) -> char32_t {
      if (!any_case) return unit->c;
      if (unit->c == 0x17F) return 's';  // a long s is one in any case
      return unit->c >= 'A' && unit->c <= 'Z' ? unit->c + ('a' - 'A') : unit->c;
    };
    const char32_t first = letter(at + 1);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    if (end - at < 3) return 0;
    const char32_t second = letter(at + 2);
    const bool two = ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
    return two ? 3 : 0;
  }

  // \s+(?!\S)|\s+: all of the run but its last, which may belong to the word behind it.
  const Unit* spaces() const {
    const Unit* const stop = run(at, kSpaceClass);
    return stop == end || stop - at == 1 ? stop : stop - 1;
  }

  const Unit* gpt2() const {
    if (const size_t length = contraction(false)) return at + length;
    const Unit* first = at->c == ' ' && at + 1 != end ? at + 1 : at;
    const Class c = class_of(first);
    return c == kSpaceClass ? spaces() : run(first, c);
  }

  const Unit* clip() const {
    if (const size_t length = contraction(false)) return at + length;
    const Class c = class_of(at);
    if (c == kSpaceClass) return at;
    return c == kNumbers ? at + 1 : run(at, c);
  }

  const Unit* llama3(int most_digits) const {
    if (const size_t length = contraction(true)) return at + length;
    const Class c = class_of(at);
    if (c == kLetters) return run(at, kLetters);
    if (c == kNumbers) {
      const Unit* stop = at + 1;
      while (stop != end && stop - at < most_digits && class_of(stop) == kNumbers) ++stop;
      return stop;
    }
    if (!ends_line(at) && at + 1 != end && class_of(at + 1) == kLetters) return run(at + 1, kLetters);
    const Unit* const first = at->c == ' ' && at + 1 != end ? at + 1 : at;
    if (class_of(first) == kOtherClass) {
      const Unit* stop = run(first, kOtherClass);
      while (stop != end && ends_line(stop)) ++stop;
      return stop;
    }
    // \s*[\r\n]+: up to the last end of a line in the run.
    const Unit* const stop = run(at, kSpaceClass);
    for (const Unit* unit = stop; unit != at; --unit) {
      if (ends_line(unit - 1)) return unit;
    }
    return spaces();
  }
};

}  // namespace

std::optional<WordPattern> WordPattern::from_regex(std::string_view regex) {
  for (size_t i = 0; i < kRegexes.size(); ++i) {
    if (kRegexes[i] == regex) return WordPattern(static_cast<Kind>(i));
  }
  return std::nullopt;
}

std::string_view WordPattern::regex() const { return kRegexes[static_cast<size_t>(kind_)]; }

size_t WordPattern::match(const std::vector<Unit>& units, size_t begin, size_t end) const {
  const Cursor cursor{units.data() + begin, units.data() + end};
  const auto stop = [&] {
    switch (kind_) {
      case kGpt2:
        return cursor.gpt2();
      case kClip:
        return cursor.clip();
      case kLlama3:
        return cursor.llama3(3);
      case kQwen2:
        return cursor.llama3(1);
    }
    return cursor.end;
  }();
  return static_cast<size_t>(stop - units.data());
}

}  // namespace tenon::text
