#include "text/pre_tokenizer.h"

#include <array>
#include <string_view>

#include "text/unicode.h"

namespace tenon::text {
namespace {

using Units = std::vector<Unit>;
using Words = PreTokenizer::Words;

// Cuts each word: next_run(begin, end) gives the end of the run that begins at `begin`, at least one unit, and whether
// it is a delimiter.
struct Run {
  size_t end;
  bool hit;
};
template <class NextRun>
void cut(Words& words, Delimiter delimiter, NextRun next_run) {
  words.next.clear();
  for (const UnitRange& word : words.ranges) {
    const size_t first = words.next.size();
    bool previous = false;  // the run before was a delimiter
    for (size_t begin = word.begin; begin < word.end;) {
      const auto [end, hit] = next_run(begin, word.end);
      const bool merge = (delimiter == Delimiter::kContiguous && hit && previous) ||
                         (delimiter == Delimiter::kMergedWithPrevious && hit && !previous) ||
                         (delimiter == Delimiter::kMergedWithNext && !hit && previous);
      if (merge && words.next.size() > first) {
        words.next.back().end = end;
      } else if (!(hit && delimiter == Delimiter::kRemoved)) {
        words.next.push_back({begin, end});
      }
      previous = hit;
      begin = end;
    }
  }
  std::swap(words.ranges, words.next);
  words.at_start = false;
}

// Cuts at units of which is_delimiter(c) is true.
template <class IsDelimiter>
void cut_at(Words& words, Delimiter delimiter, IsDelimiter is_delimiter) {
  const Units& units = *words.units;
  cut(words, delimiter, [&](size_t begin, size_t end) {
    const bool hit = is_delimiter(units[begin].c);
    size_t stop = begin + 1;
    while (!hit && stop < end && !is_delimiter(units[stop].c)) ++stop;
    return Run{stop, hit};
  });
}

// Keeps the maximal runs of one class; class 0 is dropped, and each unit of class 1 is a run of its own.
template <class Classify>
void keep_runs(Words& words, Classify classify) {
  const Units& units = *words.units;
  const uint16_t* const flags = char_flag_table();
  words.next.clear();
  for (const UnitRange& word : words.ranges) {
    for (size_t i = word.begin; i < word.end;) {
      const size_t begin = i;
      const int c = classify(flags[units[i].c]);
      for (++i; c != 1 && i < word.end && classify(flags[units[i].c]) == c; ++i) continue;
      if (c != 0) words.next.push_back({begin, i});
    }
  }
  std::swap(words.ranges, words.next);
  words.at_start = false;
}

// Writes all words anew: write(word, index, out) appends the units of one.
template <class Write>
void rewrite(Words& words, Write write) {
  Units& out = words.units == &words.written[0] ? words.written[1] : words.written[0];
  out.clear();
  for (size_t i = 0; i < words.ranges.size(); ++i) {
    const size_t begin = out.size();
    write(words.ranges[i], out);
    words.ranges[i] = {begin, out.size()};
  }
  words.units = &out;
}

void copy(const Units& units, UnitRange range, Units& out) {
  out.insert(out.end(), units.begin() + static_cast<std::ptrdiff_t>(range.begin),
             units.begin() + static_cast<std::ptrdiff_t>(range.end));
}

// Printable bytes stand for themselves; the others, in their order, for U+0100 and up (as in GPT-2).
struct ByteTable {
  std::array<char32_t, 256> characters;
  std::array<int, 0x180> bytes;
  ByteTable() : characters{}, bytes{} {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const char32_t c = printable ? static_cast<char32_t>(byte) : next++;
      characters[static_cast<size_t>(byte)] = c;
      bytes[c] = byte;
    }
  }
};

const ByteTable& byte_table() {
  static const ByteTable table;
  return table;
}

void run(const BertWords&, Words& words, int32_t) {
  keep_runs(words, [](uint16_t f) { return f & kSpace ? 0 : f & kPunctuation ? 1 : 2; });
}

void run(const WhitespaceWords&, Words& words, int32_t) {
  keep_runs(words, [](uint16_t f) { return f & kWord ? 3 : f & kSpace ? 0 : 2; });
}

void run(const WhitespaceSplit&, Words& words, int32_t) {
  keep_runs(words, [](uint16_t f) { return f & kSpace ? 0 : 2; });
}

void run(const PunctuationSplit& step, Words& words, int32_t) {
  cut_at(words, step.delimiter, [](char32_t c) { return (char_flags(c) & kPunctuation) != 0; });
}

void run(const DigitsSplit& step, Words& words, int32_t) {
  cut_at(words, step.individual ? Delimiter::kIsolated : Delimiter::kContiguous,
         [](char32_t c) { return (char_flags(c) & kNumberClass) != 0; });
}

void run(const LiteralSplit& step, Words& words, int32_t) {
  std::u32string literal;
  for (const char* p = step.literal.data(); p != step.literal.data() + step.literal.size();) {
    literal.push_back(next_code_point(p));
  }
  if (literal.empty()) return;
  const Units& units = *words.units;
  const auto matches = [&](size_t at, size_t end) {
    if (end - at < literal.size()) return false;
    for (size_t i = 0; i < literal.size(); ++i) {
      if (units[at + i].c != literal[i]) return false;
    }
    return true;
  };
  cut(words, step.delimiter, [&](size_t begin, size_t end) {
    if (matches(begin, end)) return Run{begin + literal.size(), !step.invert};
    size_t stop = begin + 1;
    while (stop < end && !matches(stop, end)) ++stop;
    return Run{stop, step.invert};
  });
}

void run(const PatternSplit& step, Words& words, int32_t) {
  const Units& units = *words.units;
  cut(words, step.delimiter, [&](size_t begin, size_t end) {
    size_t stop = step.pattern.match(units, begin, end);
    if (stop > begin) return Run{stop, !step.invert};
    for (++stop; stop < end && step.pattern.match(units, stop, end) == stop; ++stop) continue;
    return Run{stop, step.invert};
  });
}

void run(const ByteLevel& step, Words& words, int32_t) {
  if (step.add_prefix_space) {
    const Units& units = *words.units;
    rewrite(words, [&](UnitRange word, Units& out) {
      if (units[word.begin].c != ' ') out.push_back({' ', units[word.begin].source});
      copy(units, word, out);
    });
  }
  if (step.use_pattern) run(PatternSplit{WordPattern(WordPattern::kGpt2)}, words, 0);
  const Units& units = *words.units;
  const auto& characters = byte_table().characters;
  rewrite(words, [&](UnitRange word, Units& out) {
    char utf8[4];
    for (size_t i = word.begin; i < word.end; ++i) {
      const char* const end = write_utf8(units[i].c, utf8);
      for (const char* p = utf8; p != end; ++p) {
        out.push_back({characters[static_cast<unsigned char>(*p)], units[i].source});
      }
    }
  });
}

void run(const Metaspace& step, Words& words, int32_t first) {
  const Units& units = *words.units;
  const bool at_start = words.at_start;
  rewrite(words, [&](UnitRange word, Units& out) {
    const Unit& head = units[word.begin];
    const bool has_it = head.c == ' ' || head.c == step.replacement;
    const bool wanted = step.prepend == Metaspace::Prepend::kAlways ||
                        (step.prepend == Metaspace::Prepend::kFirst && (at_start || first + head.source == 0));
    if (wanted && !has_it) out.push_back({step.replacement, head.source});
    for (size_t i = word.begin; i < word.end; ++i) {
      out.push_back({units[i].c == ' ' ? step.replacement : units[i].c, units[i].source});
    }
  });
  if (!step.split) return;
  cut_at(words, Delimiter::kMergedWithNext, [&](char32_t c) { return c == step.replacement; });
}

}  // namespace

char32_t character_of_byte(uint8_t byte) { return byte_table().characters[byte]; }

int byte_of_character(char32_t c) { return c < byte_table().bytes.size() ? byte_table().bytes[c] : -1; }

void PreTokenizer::split(const std::vector<Unit>& units, UnitRange range, int32_t first, Words& words) const {
  words.units = &units;
  words.ranges.clear();
  if (range.begin == range.end) return;
  words.ranges.push_back(range);
  words.at_start = first == 0 && range.begin == 0;
  for (const Step& step : steps_) std::visit([&](const auto& s) { run(s, words, first); }, step);
}

}  // namespace tenon::text
