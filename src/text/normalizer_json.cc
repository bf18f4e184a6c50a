// The "normalizer" object of a tokenizer.json.
#include <optional>

#include "text/json_node.h"
#include "text/normalizer.h"

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
    TENON_ASSIGN(Normalizer::Step step, replace_from_json(node));
    steps.push_back(std::move(step));
  } else if (type == "Prepend") {
    TENON_ASSIGN(const JsonNode content, node.at("prepend"));
    TENON_ASSIGN(std::string text, content.string());
    steps.emplace_back(Prepend{std::move(text)});
  } else if (type == "Nmt") {
    steps.emplace_back(Nmt{});
  } else if (type == "Precompiled") {
    TENON_ASSIGN(const JsonNode map_node, node.at("precompiled_charsmap"));
    TENON_ASSIGN(const std::string text, map_node.string());
    std::optional<std::string> bytes = base64_decode(text);
    if (!bytes) return map_node.bad("not valid base64");
    TENON_ASSIGN(Charsmap map, Charsmap::parse(std::move(*bytes), map_node.where()));
    steps.emplace_back(Precompiled{std::make_shared<const Charsmap>(std::move(map))});
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

}  // namespace tenon::text
