#include "text/normalizer.h"

#include <algorithm>
#include <optional>

#include "text/json_node.h"
#include "text/unicode.h"

namespace tenon::text {
namespace {

using nlohmann::json;
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

void run(const UnicodeForm& form, UnitText& text) {
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
  uint8_t seen = 0;
  bool hangul = false;
  for (const Unit& unit : text.units) {
    seen |= char_flags(unit.c);
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

// One object of the file: a step, or a sequence of them.
Status add_steps(const JsonNode& node, std::vector<Normalizer::Step>& steps) {
  TENON_ASSIGN(const JsonNode type_node, node.at("type"));
  TENON_ASSIGN(const std::string type, type_node.string());
  if (type == "Sequence") {
    TENON_ASSIGN(const JsonNode list, node.at("normalizers"));
    TENON_ASSIGN(const std::vector<JsonNode> parts, list.elements());
    for (const JsonNode& part : parts) TENON_TRY(add_steps(part, steps));
  } else if (type == "BertNormalizer") {
    BertNormalizer bert;
    TENON_ASSIGN(bert.clean_text, node.boolean("clean_text", true));
    TENON_ASSIGN(bert.handle_chinese_chars, node.boolean("handle_chinese_chars", true));
    TENON_ASSIGN(bert.lowercase, node.boolean("lowercase", true));
    TENON_ASSIGN(bert.strip_accents, node.boolean("strip_accents", bert.lowercase));
    steps.emplace_back(bert);
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    steps.emplace_back(UnicodeForm{type.size() == 4, type.back() == 'C'});
  } else if (type == "Lowercase") {
    steps.emplace_back(Lowercase{});
  } else if (type == "StripAccents") {
    steps.emplace_back(StripAccents{});
  } else if (type == "Strip") {
    StripSpace strip{};
    TENON_ASSIGN(strip.left, node.boolean("strip_left", true));
    TENON_ASSIGN(strip.right, node.boolean("strip_right", true));
    steps.emplace_back(strip);
  } else if (type == "Replace") {
    Replace replace;
    TENON_ASSIGN(const JsonNode pattern, node.at("pattern"));
    TENON_ASSIGN(const std::optional<JsonNode> literal, pattern.find("String"));
    if (!literal) return pattern.unsupported("only a \"String\" can be replaced, not a regular expression");
    TENON_ASSIGN(replace.pattern, literal->string());
    TENON_ASSIGN(const JsonNode content, node.at("content"));
    TENON_ASSIGN(replace.content, content.string());
    steps.emplace_back(std::move(replace));
  } else {
    return type_node.unsupported(fmt::format("the normalizer \"{}\"", type));
  }
  return {};
}

json step_json(const BertNormalizer& bert) {
  return {{"type", "BertNormalizer"},
          {"clean_text", bert.clean_text},
          {"handle_chinese_chars", bert.handle_chinese_chars},
          {"strip_accents", bert.strip_accents},
          {"lowercase", bert.lowercase}};
}
json step_json(const UnicodeForm& form) {
  return {{"type", std::string(form.compatibility ? "NFK" : "NF") + (form.composed ? "C" : "D")}};
}
json step_json(const Lowercase&) { return {{"type", "Lowercase"}}; }
json step_json(const StripAccents&) { return {{"type", "StripAccents"}}; }
json step_json(const StripSpace& strip) {
  return {{"type", "Strip"}, {"strip_left", strip.left}, {"strip_right", strip.right}};
}
json step_json(const Replace& replace) {
  return {{"type", "Replace"}, {"pattern", {{"String", replace.pattern}}}, {"content", replace.content}};
}

}  // namespace

Result<Normalizer> Normalizer::from_json(const JsonNode& node) {
  std::vector<Step> steps;
  TENON_TRY(add_steps(node, steps));
  return Normalizer(std::move(steps));
}

json Normalizer::to_json() const {
  json list = json::array();
  for (const Step& step : steps_) list.push_back(std::visit([](const auto& s) { return step_json(s); }, step));
  if (list.empty()) return nullptr;
  if (list.size() == 1) return list[0];
  return {{"type", "Sequence"}, {"normalizers", std::move(list)}};
}

void Normalizer::apply(UnitText& text) const {
  for (const Step& step : steps_) std::visit([&](const auto& s) { run(s, text); }, step);
}

std::string Normalizer::apply(std::string_view utf8) const {
  UnitText text;
  text.assign(utf8, 0);
  apply(text);
  std::string out;
  append_utf8(out, text.units);
  return out;
}

const BertNormalizer* Normalizer::as_bert() const {
  return steps_.size() == 1 ? std::get_if<BertNormalizer>(&steps_[0]) : nullptr;
}

}  // namespace tenon::text
