#include "text/charsmap.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "text/unicode.h"

namespace tenon::text {
namespace {

constexpr size_t kMaxGraphemeBytes = 5;

// Fields of a unit of the trie.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t label_of(uint32_t unit) { return unit & (0x80000000 | 0xFF); }  // a leaf's is none of a byte
uint32_t offset_of(uint32_t unit) { return unit >> 10 << ((unit & 0x200) >> 6); }

// The end of the grapheme that begins at `begin`.
size_t grapheme_end(const std::vector<Unit>& units, size_t begin) {
  utf8proc_int32_t state = 0;
  size_t end = begin + 1;
  for (; end < units.size(); ++end) {
    const char32_t a = units[end - 1].c, b = units[end].c;
    // Between two of ASCII there is a boundary, but for CR LF.
    if (a < 0x80 && b < 0x80 && state == 0) {
      if (a == '\r' && b == '\n') continue;
      break;
    }
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(a), static_cast<utf8proc_int32_t>(b), &state)) {
      break;
    }
  }
  return end;
}

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

Result<Charsmap> Charsmap::parse(std::string bytes, const std::string& where) {
  const auto bad = [&](std::string_view why) { return error(ErrorCode::kBadModel, "{}: {}", where, why); };
  uint32_t size = 0;
  if (bytes.size() < sizeof size) return bad("too short");
  std::memcpy(&size, bytes.data(), sizeof size);
  if (size > bytes.size() - sizeof size || size % sizeof(uint32_t) != 0 || size == 0) {
    return bad(fmt::format("a trie of {} bytes does not fit into {}", size, bytes.size()));
  }
  Charsmap map;
  map.trie_.resize(size / sizeof(uint32_t));
  std::memcpy(map.trie_.data(), bytes.data() + sizeof size, size);
  map.texts_ = sizeof size + size;
  const std::string_view texts = std::string_view(bytes).substr(map.texts_);
  if (valid_utf8_prefix(texts) != texts.size()) return bad("the texts are not valid UTF-8");
  map.bytes_ = std::move(bytes);
  for (size_t c = 1; c < map.is_plain_.size(); ++c) {
    const char text = static_cast<char>(c);
    map.is_plain_[c] = c != '\r' && !map.find({&text, 1});
  }
  return map;
}

std::optional<std::string_view> Charsmap::find(std::string_view text) const {
  size_t node = offset_of(trie_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return std::nullopt;
    node ^= byte;
    if (node >= trie_.size() || label_of(trie_[node]) != byte) return std::nullopt;
    const bool leaf = has_leaf(trie_[node]);
    node ^= offset_of(trie_[node]);
    if (!leaf) continue;
    if (node >= trie_.size()) return std::nullopt;
    const std::string_view texts = std::string_view(bytes_).substr(texts_);
    const size_t begin = value_of(trie_[node]);
    // A text that begins within a character is not one.
    if (begin > texts.size() || (begin < texts.size() && (texts[begin] & 0xC0) == 0x80)) return std::nullopt;
    return texts.substr(begin, std::min(texts.find('\0', begin), texts.size()) - begin);
  }
  return std::nullopt;
}

// Appends what [begin, end) becomes, if the map knows it.
bool Charsmap::replace(const Unit* begin, const Unit* end, std::vector<Change>& changes) const {
  char buffer[4 * kMaxGraphemeBytes];
  char* p = buffer;
  for (const Unit* unit = begin; unit != end; ++unit) p = write_utf8(unit->c, p);
  const std::optional<std::string_view> found = find({buffer, static_cast<size_t>(p - buffer)});
  if (!found) return false;
  // The last of added code points are the inserted ones; the last that stays swallows those that go. A text that
  // vanishes is swallowed by whatever stands before it, which is how `tokenizers` counts.
  const auto old_count = static_cast<int32_t>(end - begin);
  int32_t new_count = 0;
  for (const char* c = found->data(); c != found->data() + found->size(); ++new_count) {
    changes.push_back({next_code_point(c), new_count < old_count ? 0 : 1});
  }
  if (new_count < old_count && !changes.empty()) changes.back().change -= old_count - new_count;
  return true;
}

void Charsmap::apply(UnitText& text) const {
  const std::vector<Unit>& units = text.units;
  const auto plain = [&](size_t i) { return units[i].c < 0x80 && is_plain_[units[i].c]; };
  size_t i = 0;
  while (i < units.size() && plain(i)) ++i;
  if (i == units.size()) return;
  std::vector<Change> changes;
  changes.reserve(units.size() + 8);
  bool modified = false;
  for (i = 0; i < units.size();) {
    // Nothing below U+0300 joins a code point before it.
    if (plain(i) && (i + 1 == units.size() || units[i + 1].c < 0x300)) {
      changes.push_back({units[i++].c, 0});
      continue;
    }
    const size_t end = grapheme_end(units, i);
    size_t bytes = 0;
    for (size_t k = i; k < end && bytes <= kMaxGraphemeBytes; ++k)
      bytes += static_cast<size_t>(utf8_length(units[k].c));
    if (bytes <= kMaxGraphemeBytes && replace(&units[i], units.data() + end, changes)) {
      modified = true;
      i = end;
      continue;
    }
    for (; i < end; ++i) {
      if (replace(&units[i], &units[i] + 1, changes)) {
        modified = true;
      } else {
        changes.push_back({units[i].c, 0});
      }
    }
  }
  if (modified) text.apply(changes, 0);
}

std::string base64_encode(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) {
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out.push_back(i + k > bytes.size() ? '=' : kBase64[group >> (18 - 6 * k) & 63]);
    }
  }
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const size_t value = kBase64.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  return out;
}

}  // namespace tenon::text
