#include "tasks/answers.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tenon::tasks {
namespace {

std::vector<double> softmax(const float* logits, size_t count) {
  const double top = *std::max_element(logits, logits + count);
  std::vector<double> p(count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += p[i] = std::exp(logits[i] - top);
  for (double& v : p) v /= sum;
  return p;
}

std::vector<double> sigmoids(const float* logits, size_t count) {
  std::vector<double> p(count);
  for (size_t i = 0; i < count; ++i) p[i] = 1 / (1 + std::exp(-static_cast<double>(logits[i])));
  return p;
}

std::string label_of(size_t i, const std::vector<std::string>& labels) { return i < labels.size() ? labels[i] : "LABEL_" + std::to_string(i); }

}  // namespace

const BatchOutput* find_output(const std::vector<BatchOutput>& outputs, std::initializer_list<const char*> names) {
  for (const char* name : names)
    for (const BatchOutput& out : outputs)
      if (out.name == name) return &out;
  return nullptr;
}

const BatchOutput& require_output(const std::vector<BatchOutput>& outputs, std::initializer_list<const char*> names) {
  if (const BatchOutput* found = find_output(outputs, names)) return *found;
  std::string present;
  for (const BatchOutput& out : outputs) present += (present.empty() ? "" : ", ") + out.name;
  throw Error(ErrorCode::kInvalidArgument, std::string("the engine has no output '") + *names.begin() + "'; it has " + present);
}

std::vector<float> mean_of_rows(const float* rows, size_t count, size_t width) {
  std::vector<double> sum(width, 0);
  for (size_t r = 0; r < count; ++r)
    for (size_t i = 0; i < width; ++i) sum[i] += rows[r * width + i];
  std::vector<float> mean(width);
  for (size_t i = 0; i < width; ++i) mean[i] = static_cast<float>(sum[i] / static_cast<double>(std::max<size_t>(1, count)));
  return mean;
}

Labels labels_of(const std::map<std::string, std::string>& properties) {
  const auto type = properties.find("problem_type");
  return type != properties.end() && type->second == "multi_label_classification" ? Labels::kAny : Labels::kOne;
}

std::vector<LabelScore> rank_labels(const float* logits, size_t count, const std::vector<std::string>& labels, Labels apply) {
  if (count == 1 && apply == Labels::kOne) return {{label_of(0, labels), logits[0]}};
  const std::vector<double> p = apply == Labels::kAny ? sigmoids(logits, count) : softmax(logits, count);
  std::vector<LabelScore> scores;
  for (size_t i = 0; i < count; ++i) scores.push_back({label_of(i, labels), p[i]});
  std::stable_sort(scores.begin(), scores.end(), [](const LabelScore& a, const LabelScore& b) { return a.probability > b.probability; });
  return scores;
}

std::vector<LabelScore> rank_tokens(const float* logits, size_t vocabulary, size_t candidates, const text::Tokenizer& tokenizer) {
  const std::vector<double> p = softmax(logits, vocabulary);
  std::vector<size_t> order(vocabulary);
  std::iota(order.begin(), order.end(), size_t{0});
  candidates = std::min(candidates, vocabulary);
  std::partial_sort(order.begin(), order.begin() + static_cast<long>(candidates), order.end(), [&](size_t a, size_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
  std::vector<LabelScore> scores;
  for (size_t i = 0; i < candidates; ++i) scores.push_back({std::string(tokenizer.id_to_token(static_cast<int32_t>(order[i]))), p[order[i]]});
  return scores;
}

void improve_span(const Encoding& window, const float* start, const float* end, int max_tokens, BestSpan& best) {
  const size_t count = window.size();
  const auto in_context = [&](size_t t) { return window.sequence_ids[t] == 1; };
  for (size_t s = 0; s < count; ++s) {
    if (!in_context(s)) continue;
    for (size_t e = s; e < std::min(count, s + static_cast<size_t>(max_tokens)) && in_context(e); ++e) {
      const double score = static_cast<double>(start[s]) + end[e];
      if (best.found && score <= best.score) continue;
      best = {true, score, window.offsets[s].first, window.offsets[e].second, window.byte_offsets[s].first, window.byte_offsets[e].second};
    }
  }
}

TextSpan to_text(const BestSpan& span, const std::string& context) {
  if (!span.found) return {};
  return {context.substr(static_cast<size_t>(span.byte_begin), static_cast<size_t>(span.byte_end - span.byte_begin)), span.begin, span.end, span.score};
}

std::vector<Entity> group_entities(const Encoding& row, const float* logits, size_t classes, const std::vector<std::string>& labels, const std::string& text) {
  std::vector<Entity> entities;
  int previous_word = -1, words = 0;
  int byte_begin = 0;
  std::string open;  // label of the entity under way, without its prefix
  for (size_t t = 0; t < row.size(); ++t) {
    if (row.special_tokens_mask[t] != 0) continue;
    const bool same_word = row.word_ids[t] == previous_word;
    previous_word = row.word_ids[t];
    if (same_word) {
      // The rest of a word belongs to what its first token said.
      if (!open.empty()) {
        entities.back().span.end = row.offsets[t].second;
        entities.back().span.text = text.substr(static_cast<size_t>(byte_begin), static_cast<size_t>(row.byte_offsets[t].second - byte_begin));
      }
      continue;
    }
    const std::vector<double> p = softmax(logits + t * classes, classes);
    const auto best = static_cast<size_t>(std::max_element(p.begin(), p.end()) - p.begin());
    std::string label = label_of(best, labels);
    if (label == "O") {
      open.clear();
      continue;
    }
    const bool begins = label.starts_with("B-"), continues = label.starts_with("I-");
    if (begins || continues) label = label.substr(2);
    if (open != label || begins) {
      byte_begin = row.byte_offsets[t].first;
      entities.push_back({label, {"", row.offsets[t].first, row.offsets[t].second, 0}});
      words = 0;
    }
    open = label;
    TextSpan& span = entities.back().span;
    span.end = row.offsets[t].second;
    span.text = text.substr(static_cast<size_t>(byte_begin), static_cast<size_t>(row.byte_offsets[t].second - byte_begin));
    span.score = (span.score * words + p[best]) / (words + 1);
    ++words;
  }
  return entities;
}

std::string cut_to_tokens(const text::Tokenizer& tokenizer, const std::string& text, int tokens) {
  if (tokens <= 0) return text;
  EncodeOptions options;
  options.add_special_tokens = false;
  const Encoding row = tokenizer.encode(text, options);
  if (row.size() <= static_cast<size_t>(tokens)) return text;
  return text.substr(0, static_cast<size_t>(row.byte_offsets[static_cast<size_t>(tokens) - 1].second));
}

}  // namespace tenon::tasks
