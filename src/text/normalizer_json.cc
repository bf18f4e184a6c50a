// The "normalizer" object of a tokenizer.json.
#include <optional>

#include "text/normalizer.h"
#include "text/steps_json.h"

namespace tenon::text {
namespace {

using nlohmann::json;

// The regular expressions that normalizers replace: all are runs of white space.
struct SpacePattern {
  std::string_view regex;
  bool any_space;
  size_t least;
  bool line_ends;
};
constexpr SpacePattern kSpacePatterns[] = {
    {" {2,}", false, 2, false},
    {" +", false, 1, false},
    {R"(\s+)", true, 1, false},
    {R"(\s{2,})", true, 2, false},
    {R"(\s{2,}|[\n\r\t])", true, 2, true},
};

Result<Normalizer::Step> replace_from_json(const JsonNode& node) {
  TENON_ASSIGN(const JsonNode content_node, node.at("content"));
  TENON_ASSIGN(std::string content, content_node.string());
  TENON_ASSIGN(const JsonNode pattern, node.at("pattern"));
  TENON_ASSIGN(const std::optional<JsonNode> literal, pattern.find("String"));
  if (literal) {
    TENON_ASSIGN(std::string text, literal->string());
    return Normalizer::Step(Replace{std::move(text), std::move(content)});
  }
  TENON_ASSIGN(const JsonNode regex_node, pattern.at("Regex"));
  TENON_ASSIGN(const std::string regex, regex_node.string());
  for (const SpacePattern& known : kSpacePatterns) {
    if (known.regex != regex) continue;
    return Normalizer::Step(ReplaceSpaces{known.any_space, known.least, known.line_ends, std::move(content)});
  }
  return regex_node.unsupported(fmt::format("the regular expression \"{}\"; known are runs of white space", regex));
}

Result<Normalizer::Step> normalizer_step_from_json(const std::string& type, const JsonNode& type_node,
                                                    const JsonNode& node) {
  using Step = Normalizer::Step;
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD")
    return Step(UnicodeForm{type.size() == 4, type.back() == 'C'});
  if (type == "Lowercase") return Step(Lowercase{});
  if (type == "StripAccents") return Step(StripAccents{});
  if (type == "Nmt") return Step(Nmt{});
  if (type == "Replace") return replace_from_json(node);
  if (type == "BertNormalizer") {
    BertNormalizer bert;
    TENON_ASSIGN(bert.clean_text, node.boolean("clean_text", true));
    TENON_ASSIGN(bert.handle_chinese_chars, node.boolean("handle_chinese_chars", true));
    TENON_ASSIGN(bert.lowercase, node.boolean("lowercase", true));
    TENON_ASSIGN(bert.strip_accents, node.boolean("strip_accents", bert.lowercase));
    return Step(bert);
  }
  if (type == "Strip") {
    StripSpace strip{};
    TENON_ASSIGN(strip.left, node.boolean("strip_left", true));
    TENON_ASSIGN(strip.right, node.boolean("strip_right", true));
    return Step(strip);
  }
  if (type == "Prepend") {
    TENON_ASSIGN(const JsonNode content, node.at("prepend"));
    TENON_ASSIGN(std::string text, content.string());
    return Step(Prepend{std::move(text)});
  }
  if (type == "Precompiled") {
    TENON_ASSIGN(const JsonNode map_node, node.at("precompiled_charsmap"));
    TENON_ASSIGN(const std::string text, map_node.string());
    std::optional<std::string> bytes = base64_decode(text);
    if (!bytes) return map_node.bad("not valid base64");
    TENON_ASSIGN(Charsmap map, Charsmap::parse(std::move(*bytes), map_node.where()));
    return Step(Precompiled{std::make_shared<const Charsmap>(std::move(map))});
  }
  return type_node.unsupported(fmt::format("the normalizer \"{}\"", type));
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
json step_json(const ReplaceSpaces& replace) {
  for (const SpacePattern& known : kSpacePatterns) {
    const bool same =
        known.any_space == replace.any_space && known.least == replace.least && known.line_ends == replace.line_ends;
    if (same) return {{"type", "Replace"}, {"pattern", {{"Regex", known.regex}}}, {"content", replace.content}};
  }
  return nullptr;
}
json step_json(const Prepend& prepend) { return {{"type", "Prepend"}, {"prepend", prepend.content}}; }
json step_json(const Nmt&) { return {{"type", "Nmt"}}; }
json step_json(const Precompiled& precompiled) {
  return {{"type", "Precompiled"}, {"precompiled_charsmap", base64_encode(precompiled.map->bytes())}};
}

}  // namespace

Result<Normalizer> Normalizer::from_json(const JsonNode& node) {
  std::vector<Step> steps;
  TENON_TRY(read_steps(node, "normalizers", normalizer_step_from_json, steps));
  return Normalizer(std::move(steps));
}

json Normalizer::to_json() const {
  return steps_json(steps_, "normalizers", [](const auto& step) { return step_json(step); });
}

}  // namespace tenon::text
