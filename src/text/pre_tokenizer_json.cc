// The "pre_tokenizer" object of a tokenizer.json.
#include <array>
#include <string_view>

#include "text/pre_tokenizer.h"
#include "text/steps_json.h"
#include "text/unicode.h"

namespace tenon::text {
namespace {

using nlohmann::json;
using Step = PreTokenizer::Step;

constexpr std::array<std::string_view, 5> kDelimiters = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                                         "MergedWithNext"};
constexpr std::array<std::string_view, 3> kPrepends = {"always", "first", "never"};

// The place of a member's value among `names`.
template <size_t n>
Result<size_t> choice(const JsonNode& node, const char* key, const std::array<std::string_view, n>& names,
                      std::string_view fallback) {
  TENON_ASSIGN(const std::string value, node.string(key, std::string(fallback)));
  for (size_t i = 0; i < n; ++i) {
    if (names[i] == value) return i;
  }
  return node.bad(fmt::format("{}: unknown value \"{}\"", key, value));
}

Result<Delimiter> delimiter_of(const JsonNode& node) {
  TENON_ASSIGN(const size_t index, choice(node, "behavior", kDelimiters, "Isolated"));
  return static_cast<Delimiter>(index);
}

Result<Step> split_from_json(const JsonNode& node) {
  TENON_ASSIGN(const Delimiter delimiter, delimiter_of(node));
  TENON_ASSIGN(const bool invert, node.boolean("invert", false));
  TENON_ASSIGN(const JsonNode pattern, node.at("pattern"));
  TENON_ASSIGN(const std::optional<JsonNode> literal, pattern.find("String"));
  if (literal) {
    TENON_ASSIGN(std::string text, literal->string());
    return Step(LiteralSplit{std::move(text), delimiter, invert});
  }
  TENON_ASSIGN(const JsonNode regex, pattern.at("Regex"));
  TENON_ASSIGN(const std::string text, regex.string());
  const std::optional<WordPattern> known = WordPattern::from_regex(text);
  if (!known) {
    return regex.unsupported(
        fmt::format("the pattern \"{}\"; known are those of GPT-2, CLIP, Llama 3 and Qwen 2", text));
  }
  return Step(PatternSplit{*known, delimiter, invert});
}

Result<Step> metaspace_from_json(const JsonNode& node) {
  Metaspace step;
  TENON_ASSIGN(const std::string replacement, node.string("replacement", "\u2581"));
  if (replacement.empty() || count_code_points(replacement) != 1) {
    return node.bad("replacement: expected one character");
  }
  const char* p = replacement.data();
  step.replacement = next_code_point(p);
  // Older files say add_prefix_space instead.
  TENON_ASSIGN(const bool add_prefix_space, node.boolean("add_prefix_space", true));
  TENON_ASSIGN(const size_t prepend, choice(node, "prepend_scheme", kPrepends, add_prefix_space ? "always" : "never"));
  step.prepend = static_cast<Metaspace::Prepend>(prepend);
  TENON_ASSIGN(step.split, node.boolean("split", true));
  return Step(step);
}

Result<Step> pre_tokenizer_step_from_json(const std::string& type, const JsonNode& type_node, const JsonNode& node) {
  if (type == "BertPreTokenizer") return Step(BertWords{});
  if (type == "Whitespace") return Step(WhitespaceWords{});
  if (type == "WhitespaceSplit") return Step(WhitespaceSplit{});
  if (type == "Metaspace") return metaspace_from_json(node);
  if (type == "Split") return split_from_json(node);
  if (type == "Punctuation") {
    TENON_ASSIGN(const Delimiter delimiter, delimiter_of(node));
    return Step(PunctuationSplit{delimiter});
  }
  if (type == "Digits") {
    TENON_ASSIGN(const bool individual, node.boolean("individual_digits", false));
    return Step(DigitsSplit{individual});
  }
  if (type == "CharDelimiterSplit") {
    TENON_ASSIGN(const JsonNode delimiter, node.at("delimiter"));
    TENON_ASSIGN(std::string text, delimiter.string());
    return Step(LiteralSplit{std::move(text), Delimiter::kRemoved, false});
  }
  if (type == "ByteLevel") {
    ByteLevel step;
    TENON_ASSIGN(step.add_prefix_space, node.boolean("add_prefix_space", true));
    TENON_ASSIGN(step.use_pattern, node.boolean("use_regex", true));
    return Step(step);
  }
  return type_node.unsupported(fmt::format("the pre-tokenizer \"{}\"", type));
}

json split_json(json pattern, Delimiter delimiter, bool invert) {
  return {{"type", "Split"},
          {"pattern", std::move(pattern)},
          {"behavior", kDelimiters[static_cast<size_t>(delimiter)]},
          {"invert", invert}};
}

json step_json(const BertWords&) { return {{"type", "BertPreTokenizer"}}; }
json step_json(const WhitespaceWords&) { return {{"type", "Whitespace"}}; }
json step_json(const WhitespaceSplit&) { return {{"type", "WhitespaceSplit"}}; }
json step_json(const PunctuationSplit& step) {
  return {{"type", "Punctuation"}, {"behavior", kDelimiters[static_cast<size_t>(step.delimiter)]}};
}
json step_json(const DigitsSplit& step) { return {{"type", "Digits"}, {"individual_digits", step.individual}}; }
json step_json(const LiteralSplit& step) { return split_json({{"String", step.literal}}, step.delimiter, step.invert); }
json step_json(const PatternSplit& step) {
  return split_json({{"Regex", step.pattern.regex()}}, step.delimiter, step.invert);
}
json step_json(const ByteLevel& step) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", step.add_prefix_space}, {"use_regex", step.use_pattern}};
}
json step_json(const Metaspace& step) {
  std::string replacement;
  append_utf8(replacement, step.replacement);
  return {{"type", "Metaspace"},
          {"replacement", replacement},
          {"prepend_scheme", kPrepends[static_cast<size_t>(step.prepend)]},
          {"split", step.split}};
}

}  // namespace

Result<PreTokenizer> PreTokenizer::from_json(const JsonNode& node) {
  std::vector<Step> steps;
  TENON_TRY(read_steps(node, "pretokenizers", pre_tokenizer_step_from_json, steps));
  return PreTokenizer(std::move(steps));
}

json PreTokenizer::to_json() const {
  return steps_json(steps_, "pretokenizers", [](const auto& step) { return step_json(step); });
}

}  // namespace tenon::text
