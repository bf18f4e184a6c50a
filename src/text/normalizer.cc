#include "text/normalizer.h"

#include <algorithm>
#include <optional>

#include "text/unicode.h"

namespace tenon::text {
namespace {

using Units = std::vector<Unit>;

template <class Drop>
void drop_if(Units& units, Drop drop) {
  units.erase(std::remove_if(units.begin(), units.end(), [&](const Unit& u) { return drop(u.c); }), units.end());
}

void lowercase(UnitText& text) {
  char32_t low[2];
  if (std::none_of(text.units.begin(), text.units.end(), [](const Unit& u) { return u.c == 0x130; })) {
    for (Unit& unit : text.units) {
      to_lower(unit.c, low);
      unit.c = low[0];
    }
    return;
  }
  Units out;
  for (const Unit& unit : text.units) {
    const int count = to_lower(unit.c, low);
    for (int i = 0; i < count; ++i) out.push_back({low[i], unit.source});
  }
  text.units = std::move(out);
}

// A code point of a decomposed text, with the change that it stands for.
struct Ordered {
  char32_t c;
  int32_t change;
  uint8_t combining_class;
};

// Canonical order: runs of combining marks sorted by class. The changes move with their code points, as in the library
// that `tokenizers` uses, so a mark's origin is the one that stood at its place before.
std::vector<Ordered> decomposed(const Units& units, bool compatibility) {
  std::vector<Ordered> out;
  out.reserve(units.size() + units.size() / 2);
  char32_t parts[kMaxDecomposition];
  for (const Unit& unit : units) {
    const int count = decompose(unit.c, compatibility, parts);
    for (int i = 0; i < count; ++i) out.push_back({parts[i], i > 0, combining_class(parts[i])});
  }
  const auto is_starter = [](const Ordered& o) { return o.combining_class == 0; };
  for (auto at = out.begin(); at != out.end();) {
    const auto begin = std::find_if_not(at, out.end(), is_starter);
    at = std::find_if(begin, out.end(), is_starter);
    std::stable_sort(begin, at,
                     [](const Ordered& a, const Ordered& b) { return a.combining_class < b.combining_class; });
  }
  return out;
}

// Canonical composition. A composed code point takes the place of its parts: their changes add up.
std::vector<Ordered> composed(const std::vector<Ordered>& parts) {
  std::vector<Ordered> out;
  std::optional<size_t> starter;  // index in `out`
  int last_class = -1;            // of the last mark kept behind the starter; -1: none
  for (const Ordered& part : parts) {
    const bool blocked = last_class >= static_cast<int>(part.combining_class);
    if (starter && !blocked) {
      if (const char32_t c = compose(out[*starter].c, part.c)) {
        out[*starter].c = c;
        out[*starter].change += part.change - 1;
        continue;
      }
    }
    if (part.combining_class == 0) {
      starter = out.size();
      last_class = -1;
    } else {
      last_class = part.combining_class;
    }
    out.push_back(part);
  }
  return out;
}

void apply_changes(UnitText& text, const std::vector<Ordered>& ordered) {
  std::vector<Change> changes;
  changes.reserve(ordered.size());
  for (const Ordered& o : ordered) changes.push_back({o.c, o.change});
  text.apply(changes, 0);
}

// Nothing of the text decomposes, sorts or composes.
bool is_normal(const UnicodeForm& form, const Units& units) {
  const uint16_t* const flags = char_flag_table();
  const char32_t stable_below = form.composed && !form.compatibility ? 0x300 : 0x80;
  return std::all_of(units.begin(), units.end(), [&](const Unit& unit) {
    const char32_t c = unit.c;
    if (c < stable_below) return true;
    const bool jamo = c >= 0x1100 && c <= 0x11FF;  // these and marks may join what stands before them
    return !(flags[c] & (kOrdered | kDecomposes | kMark)) && !jamo && (form.composed || !is_hangul_syllable(c));
  });
}

void run(const UnicodeForm& form, UnitText& text) {
  if (is_normal(form, text.units)) return;
  std::vector<Ordered> ordered = decomposed(text.units, form.compatibility);
  apply_changes(text, form.composed ? composed(ordered) : ordered);
}

void run(const Lowercase&, UnitText& text) { lowercase(text); }

void run(const StripAccents&, UnitText& text) {
  drop_if(text.units, [](char32_t c) { return (char_flags(c) & kMark) != 0; });
}

void run(const StripSpace& strip, UnitText& text) {
  const auto is_text = [](const Unit& u) { return !(char_flags(u.c) & kSpace); };
  Units& units = text.units;
  if (strip.right) units.erase(std::find_if(units.rbegin(), units.rend(), is_text).base(), units.end());
  if (strip.left) units.erase(units.begin(), std::find_if(units.begin(), units.end(), is_text));
}

std::u32string decode(std::string_view utf8) {
  std::u32string out;
  const char* p = utf8.data();
  while (p != utf8.data() + utf8.size()) out.push_back(next_code_point(p));
  return out;
}

void run(const Replace& replace, UnitText& text) {
  const std::u32string pattern = decode(replace.pattern), content = decode(replace.content);
  if (pattern.empty()) return;
  Units out;
  const Units& units = text.units;
  for (size_t i = 0; i < units.size();) {
    const bool match = units.size() - i >= pattern.size() &&
                       std::equal(pattern.begin(), pattern.end(), units.begin() + static_cast<std::ptrdiff_t>(i),
                                  [](char32_t c, const Unit& u) { return c == u.c; });
    if (!match) {
      out.push_back(units[i++]);
      continue;
    }
    i += pattern.size();
    for (const char32_t c : content) out.push_back({c, units[i - 1].source});
  }
  text.units = std::move(out);
}

void strip_nonspacing(UnitText& text) {
  uint16_t seen = 0;
  bool hangul = false;
  for (const Unit& unit : text.units) {
    seen = static_cast<uint16_t>(seen | char_flags(unit.c));
    hangul |= is_hangul_syllable(unit.c);
  }
  if (hangul || (seen & (kDecomposes | kOrdered))) run(UnicodeForm{false, false}, text);
  drop_if(text.units, [](char32_t c) { return (char_flags(c) & kNonspacing) != 0; });
}

void run(const BertNormalizer& bert, UnitText& text) {
  if (bert.clean_text) {
    drop_if(text.units, [](char32_t c) { return c == 0xFFFD || (char_flags(c) & kControl) != 0; });
    for (Unit& unit : text.units) {
      if (char_flags(unit.c) & kSpace) unit.c = ' ';
    }
  }
  const auto chinese = [](const Unit& u) { return is_chinese(u.c); };
  if (bert.handle_chinese_chars && std::any_of(text.units.begin(), text.units.end(), chinese)) {
    Units out;
    out.reserve(3 * text.units.size());
    for (const Unit& unit : text.units) {
      if (is_chinese(unit.c)) {
        out.insert(out.end(), {{' ', unit.source}, unit, {' ', unit.source}});
      } else {
        out.push_back(unit);
      }
    }
    text.units = std::move(out);
  }
  if (bert.strip_accents) strip_nonspacing(text);
  if (bert.lowercase) lowercase(text);
}

void run(const ReplaceSpaces& replace, UnitText& text) {
  const std::u32string content = decode(replace.content);
  const auto replaced = [&](const Unit& u) { return replace.any_space ? (char_flags(u.c) & kSpace) != 0 : u.c == ' '; };
  const auto alone = [&](const Unit& u) { return replace.line_ends && (u.c == '\n' || u.c == '\r' || u.c == '\t'); };
  const Units& units = text.units;
  Units out;
  out.reserve(units.size());
  for (size_t i = 0; i < units.size();) {
    size_t end = i;
    while (end < units.size() && replaced(units[end])) ++end;
    if (end - i < replace.least) end = alone(units[i]) ? i + 1 : i;
    if (end == i) {
      out.push_back(units[i++]);
      continue;
    }
    i = end;
    for (const char32_t c : content) out.push_back({c, units[i - 1].source});
  }
  text.units = std::move(out);
}

void run(const Prepend& prepend, UnitText& text) {
  if (text.units.empty()) return;
  Units out;
  for (const char32_t c : decode(prepend.content)) out.push_back({c, text.units[0].source});
  text.units.insert(text.units.begin(), out.begin(), out.end());
}

void run(const Nmt&, UnitText& text) {
  drop_if(text.units, [](char32_t c) {
    return (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
  });
  for (Unit& unit : text.units) {
    const char32_t c = unit.c;
    if (c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 ||
        c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD) {
      unit.c = ' ';
    }
  }
}

void run(const Precompiled& precompiled, UnitText& text) { precompiled.map->apply(text); }

}  // namespace

void Normalizer::apply(UnitText& text) const {
  for (const Step& step : steps_) std::visit([&](const auto& s) { run(s, text); }, step);
}

std::string Normalizer::apply(std::string_view utf8) const {
  UnitText text;
  text.assign(utf8, 0);
  apply(text);
  std::string out;
  encode_utf8(text.units, out);
  return out;
}

const BertNormalizer* Normalizer::as_bert() const {
  return steps_.size() == 1 ? std::get_if<BertNormalizer>(&steps_[0]) : nullptr;
}

}  // namespace tenon::text
