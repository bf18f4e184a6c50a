#include "text/pipeline.h"

#include <algorithm>
#include <cstring>

#include "text/unicode.h"

namespace tenon::text {
namespace {

// ASCII to lower case, eight bytes at a time; other bytes stay.
void fold_ascii(std::string_view text, std::string& out) {
  constexpr uint64_t kOnes = 0x0101010101010101u;
  out.resize(text.size());
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t block;
    std::memcpy(&block, text.data() + i, 8);
    const uint64_t low = block & (kOnes * 0x7F);
    const uint64_t from_a = low + kOnes * (0x80 - 'A'), behind_z = low + kOnes * (0x7F - 'Z');
    block |= ((from_a ^ behind_z) & ~block & (kOnes * 0x80)) >> 2;
    std::memcpy(out.data() + i, &block, 8);
  }
  for (; i < text.size(); ++i) {
    const char c = text[i];
    out[i] = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
}

// How many characters of white space a token begins and ends with, a byte-level blank among them.
std::pair<int32_t, int32_t> spaces_around(std::string_view token) {
  int32_t left = 0, right = 0;
  bool begun = false;
  for (const char* p = token.data(); p != token.data() + token.size();) {
    const char32_t c = next_code_point(p);
    const bool space = c == character_of_byte(' ') || (char_flags(c) & kSpace) != 0;
    begun = begun || !space;
    left += !begun;
    right = space ? right + 1 : 0;
  }
  return {left, right};
}

}  // namespace

Pipeline::Pipeline(Normalizer normalizer, PreTokenizer pre_tokenizer, std::unique_ptr<const Model> model,
                   AddedTokens added, Offsets offsets)
    : normalizer_(std::move(normalizer)),
      pre_tokenizer_(std::move(pre_tokenizer)),
      model_(std::move(model)),
      added_(std::move(added)),
      offsets_(offsets) {
  if (offsets_.trims) {
    for (int32_t id = 0; id < model_->vocabulary().id_end(); ++id) {
      const auto [left, right] = spaces_around(model_->vocabulary().token(id));
      spaces_.push_back({left, right});
    }
  }
  const BertNormalizer* bert = normalizer_.as_bert();
  bert_ = bert != nullptr && pre_tokenizer_.is_bert() && !added_.any_normalized();
  if (!bert_) return;
  fold_ = bert->lowercase;
  for (unsigned c = 0; c < 256; ++c) {
    const uint16_t flags = c < 0x80 ? char_flags(c) : uint16_t{0};
    const bool dropped = bert->clean_text && (flags & kControl);
    kinds_[c] = c >= 0x80 || dropped   ? kOther
                : flags & kSpace       ? kSeparator
                : flags & kPunctuation ? kMarkSign
                                       : kLetter;
  }
}

void Pipeline::run(std::string_view text, Scratch& s) const {
  s.tokens.clear();
  s.words = 0;
  s.shift = 0;
  if (fold_) fold_ascii(text, s.folded);
  added_.split_source(text, s.source_parts);
  for (const AddedTokens::Part& part : s.source_parts) {
    if (part.id < 0) {
      run_part(text, part.begin, part.end, s);
    } else {
      push_added(text, part, s);
    }
  }
}

void Pipeline::trim(WhiteSpace space, const Scratch& s, int32_t& begin, int32_t& end) const {
  if (!offsets_.trims) return;
  const bool at_start = s.tokens.empty() || begin == 0;
  if (!(offsets_.keeps_prefix_space && at_start && space.left == 1)) begin = std::min(begin + space.left, end);
  if (end >= space.right) end = std::max(end - space.right, begin);
}

void Pipeline::push_added(std::string_view text, AddedTokens::Part part, Scratch& s) const {
  const auto points = [&](size_t begin, size_t end) {
    return static_cast<int32_t>(count_code_points(text.substr(begin, end - begin)));
  };
  const int32_t first = static_cast<int32_t>(part.begin) - s.shift;
  const int32_t length = points(part.begin, part.end);
  Token token{
      part.id, s.words++, first, first + length, static_cast<int32_t>(part.begin), static_cast<int32_t>(part.end)};
  trim({points(part.begin, part.match_begin), points(part.match_end, part.end)}, s, token.begin, token.end);
  if (token.begin > first) token.byte_begin = static_cast<int32_t>(part.match_begin);
  if (token.end < first + length) token.byte_end = static_cast<int32_t>(part.match_end);
  s.tokens.push_back(token);
  s.shift += static_cast<int32_t>(part.end - part.begin) - length;
}

void Pipeline::run_part(std::string_view text, size_t begin, size_t end, Scratch& s) const {
  if (bert_) {
    run_bert(text, begin, end, s);
  } else {
    run_units(text, begin, end, s);
  }
}

// ASCII neither composes nor decomposes nor sorts, and white space and punctuation end every word. So a word of ASCII
// needs no normalizer, and anything else can be normalised alone, from where its word begins to the next such end.
void Pipeline::run_bert(std::string_view text, size_t begin, size_t end, Scratch& s) const {
  const char* const folded = fold_ ? s.folded.data() : text.data();
  const auto kind = [&](size_t i) { return kinds_[static_cast<unsigned char>(text[i])]; };
  for (size_t i = begin; i < end;) {
    const ByteKind first = kind(i);
    size_t stop = i + 1;
    if (first == kSeparator) {
      i = stop;
      continue;
    }
    if (first == kLetter) {
      while (stop < end && kind(stop) == kLetter) ++stop;
    }
    if (first == kOther || (stop < end && first == kLetter && kind(stop) == kOther)) {
      while (stop < end && (kind(stop) == kLetter || kind(stop) == kOther)) ++stop;
      run_units(text, i, stop, s);
      i = stop;
      continue;
    }
    s.pieces.clear();
    model_->tokenize({folded + i, stop - i}, s.pieces);
    const auto at = static_cast<int32_t>(i);
    for (const Piece& piece : s.pieces) {
      const int32_t byte_begin = at + piece.begin, byte_end = at + piece.end;
      s.tokens.push_back({piece.id, s.words, byte_begin - s.shift, byte_end - s.shift, byte_begin, byte_end});
    }
    ++s.words;
    i = stop;
  }
}

void Pipeline::run_units(std::string_view text, size_t begin, size_t end, Scratch& s) const {
  UnitText& units = s.units;
  units.assign(text.substr(begin, end - begin), static_cast<int32_t>(begin));
  const int32_t first = static_cast<int32_t>(begin) - s.shift;
  normalizer_.apply(units);
  if (!added_.any_normalized()) {
    run_words({0, units.units.size()}, first, s);
  } else {
    s.word.clear();
    s.bytes_of_units.clear();
    for (const Unit& unit : units.units) {
      s.bytes_of_units.push_back(s.word.size());
      append_utf8(s.word, unit.c);
    }
    const auto unit_at = [&](size_t byte) {
      const auto found = std::lower_bound(s.bytes_of_units.begin(), s.bytes_of_units.end(), byte);
      return static_cast<size_t>(found - s.bytes_of_units.begin());
    };
    added_.split_normalized(s.word, s.normalized_parts);
    for (const AddedTokens::Part& part : s.normalized_parts) {
      const UnitRange range{unit_at(part.begin), unit_at(part.end)};
      if (part.id < 0) {
        run_words(range, first, s);
      } else if (range.begin < range.end) {
        const auto spaces = [&](size_t from, size_t to) { return static_cast<int32_t>(unit_at(to) - unit_at(from)); };
        push(part.id, units.units[range.begin].source, units.units[range.end - 1].source + 1,
             {spaces(part.begin, part.match_begin), spaces(part.match_end, part.end)}, first, s);
        ++s.words;
      }
    }
  }
  s.shift += static_cast<int32_t>(end - begin) - static_cast<int32_t>(units.starts.size() - 1);
}

void Pipeline::push(int32_t id, int32_t begin, int32_t end, WhiteSpace space, int32_t first, Scratch& s) const {
  int32_t from = first + begin, to = first + end;
  trim(space, s, from, to);
  const auto byte_at = [&](int32_t point) { return s.units.starts[static_cast<size_t>(point - first)]; };
  s.tokens.push_back({id, s.words, from, to, byte_at(from), byte_at(to)});
}

size_t Pipeline::run_model(size_t begin, Scratch& s) const {
  const size_t end = model_->part_end(s.word, begin);
  const std::string_view part = std::string_view(s.word).substr(begin, end - begin);
  if (const auto known = s.cache.find(part)) {
    s.pieces.assign(known->begin(), known->end());
  } else {
    s.pieces.clear();
    model_->tokenize(part, s.pieces);
    s.cache.insert(part, s.pieces);
  }
  return end;
}

void Pipeline::run_words(UnitRange range, int32_t first, Scratch& s) const {
  pre_tokenizer_.split(s.units.units, range, first, s.split);
  const std::vector<Unit>& units = *s.split.units;
  for (const UnitRange& word : s.split.ranges) {
    encode_utf8({units.data() + word.begin, word.end - word.begin}, s.word);
    // A walk over the word turns the bytes of its pieces into units, as pieces mostly follow one another.
    size_t unit = word.begin, byte = 0;  // that `unit` begins at
    const auto unit_of = [&](size_t wanted) {
      if (wanted < byte) unit = word.begin, byte = 0;
      for (size_t next; (next = byte + static_cast<size_t>(utf8_length(units[unit].c))) <= wanted; ++unit) byte = next;
      return unit;
    };
    for (size_t begin = 0, end; begin < s.word.size(); begin = end) {
      end = run_model(begin, s);
      for (const Piece& piece : s.pieces) {
        const int32_t from = units[unit_of(begin + static_cast<size_t>(piece.begin))].source;
        const int32_t to = units[unit_of(begin + static_cast<size_t>(piece.end) - 1)].source + 1;
        push(piece.id, from, to, offsets_.trims ? spaces_[static_cast<size_t>(piece.id)] : WhiteSpace{}, first, s);
      }
    }
    ++s.words;
  }
}

}  // namespace tenon::text
