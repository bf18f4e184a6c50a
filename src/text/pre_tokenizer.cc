#include "text/pre_tokenizer.h"

#include <array>
#include <string_view>

#include "text/json_node.h"
#include "text/unicode.h"

namespace tenon::text {
namespace {

using nlohmann::json;
using Kind = PreTokenizer::Kind;
using Delimiter = PreTokenizer::Delimiter;
using Words = std::vector<UnitRange>;

constexpr std::array<std::string_view, 4> kKinds = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation"};
constexpr std::array<std::string_view, 5> kDelimiters = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                                         "MergedWithNext"};

// Appends the maximal runs of one class; class 0 is dropped, and each unit of class 1 is a run of its own.
template <class Classify>
void split_runs(const std::vector<Unit>& units, UnitRange range, Words& words, Classify classify) {
  const uint8_t* const flags = char_flag_table();
  for (size_t i = range.begin; i < range.end;) {
    const size_t begin = i;
    const int c = classify(flags[units[i].c]);
    for (++i; c != 1 && i < range.end && classify(flags[units[i].c]) == c; ++i) continue;
    if (c != 0) words.push_back({begin, i});
  }
}

void split_punctuation(const std::vector<Unit>& units, UnitRange range, Words& words, Delimiter delimiter) {
  const size_t first = words.size();
  bool previous = false;  // the previous run was a delimiter
  const auto is_delimiter = [&](size_t i) { return (char_flags(units[i].c) & kPunctuation) != 0; };
  for (size_t i = range.begin; i < range.end;) {
    const size_t begin = i;
    const bool hit = is_delimiter(i);
    for (++i; !hit && i < range.end && !is_delimiter(i); ++i) continue;
    const bool has_previous = words.size() > first;
    bool merge = false;  // into the word before
    switch (delimiter) {
      case Delimiter::kIsolated:
        break;
      case Delimiter::kRemoved:
        break;
      case Delimiter::kContiguous:
        merge = hit && previous;
        break;
      case Delimiter::kMergedWithPrevious:
        merge = hit && !previous;
        break;
      case Delimiter::kMergedWithNext:
        merge = !hit && previous;
        break;
    }
    if (merge && has_previous) {
      words.back().end = i;
    } else if (!(hit && delimiter == Delimiter::kRemoved)) {
      words.push_back({begin, i});
    }
    previous = hit;
  }
}

void run(const PreTokenizer::Step& step, const std::vector<Unit>& units, UnitRange range, Words& words) {
  switch (step.kind) {
    case Kind::kBert:
      return split_runs(units, range, words, [](uint8_t f) { return f & kSpace ? 0 : f & kPunctuation ? 1 : 2; });
    case Kind::kWhitespace:
      return split_runs(units, range, words, [](uint8_t f) { return f & kWord ? 3 : f & kSpace ? 0 : 2; });
    case Kind::kWhitespaceSplit:
      return split_runs(units, range, words, [](uint8_t f) { return f & kSpace ? 0 : 2; });
    case Kind::kPunctuation:
      return split_punctuation(units, range, words, step.delimiter);
  }
}

template <size_t n>
int index_of(const std::array<std::string_view, n>& names, std::string_view name) {
  for (size_t i = 0; i < n; ++i) {
    if (names[i] == name) return static_cast<int>(i);
  }
  return -1;
}

Status add_steps(const JsonNode& node, std::vector<PreTokenizer::Step>& steps) {
  TENON_ASSIGN(const JsonNode type_node, node.at("type"));
  TENON_ASSIGN(const std::string type, type_node.string());
  if (type == "Sequence") {
    TENON_ASSIGN(const JsonNode list, node.at("pretokenizers"));
    TENON_ASSIGN(const std::vector<JsonNode> parts, list.elements());
    for (const JsonNode& part : parts) TENON_TRY(add_steps(part, steps));
    return {};
  }
  const int kind = index_of(kKinds, type);
  if (kind < 0) return type_node.unsupported(fmt::format("the pre-tokenizer \"{}\"", type));
  PreTokenizer::Step step{static_cast<Kind>(kind)};
  if (step.kind == Kind::kPunctuation) {
    TENON_ASSIGN(const std::string behavior, node.string("behavior", "Isolated"));
    const int delimiter = index_of(kDelimiters, behavior);
    if (delimiter < 0) return node.bad(fmt::format("behavior: unknown value \"{}\"", behavior));
    step.delimiter = static_cast<Delimiter>(delimiter);
  }
  steps.push_back(step);
  return {};
}

}  // namespace

Result<PreTokenizer> PreTokenizer::from_json(const JsonNode& node) {
  std::vector<Step> steps;
  TENON_TRY(add_steps(node, steps));
  return PreTokenizer(std::move(steps));
}

json PreTokenizer::to_json() const {
  json list = json::array();
  for (const Step& step : steps_) {
    json object = {{"type", kKinds[static_cast<size_t>(step.kind)]}};
    if (step.kind == Kind::kPunctuation) object["behavior"] = kDelimiters[static_cast<size_t>(step.delimiter)];
    list.push_back(std::move(object));
  }
  if (list.empty()) return nullptr;
  if (list.size() == 1) return list[0];
  return {{"type", "Sequence"}, {"pretokenizers", std::move(list)}};
}

void PreTokenizer::split(const std::vector<Unit>& units, UnitRange range, std::vector<UnitRange>& words) const {
  words.clear();
  if (range.begin == range.end) return;
  if (steps_.empty()) return words.push_back(range);
  run(steps_[0], units, range, words);
  for (size_t i = 1; i < steps_.size(); ++i) {
    const Words before = std::exchange(words, {});
    for (const UnitRange& word : before) run(steps_[i], units, word, words);
  }
}

}  // namespace tenon::text
