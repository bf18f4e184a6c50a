// From logits to answers: pure functions on rows of floats.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tasks/batch_runner.h"
#include "tenon/text_model.h"
#include "text/tokenizer.h"

namespace tenon::tasks {

// The first output with one of these names; null when there is none.
const BatchOutput* find_output(const std::vector<BatchOutput>& outputs, std::initializer_list<const char*> names);
// The same; throws invalid-argument that lists the outputs there are.
const BatchOutput& require_output(const std::vector<BatchOutput>& outputs, std::initializer_list<const char*> names);

std::vector<float> mean_of_rows(const float* rows, size_t count, size_t width);

// Whether one label applies, or each does for itself: what a checkpoint's "problem_type" says.
enum class Labels { kOne, kAny };
Labels labels_of(const std::map<std::string, std::string>& properties);
// Most probable first: by softmax over the logits or, where any may apply, by the sigmoid of each. A single logit is a score
// (regression) and stays as it is. Labels that are not named are LABEL_i, as transformers calls them.
std::vector<LabelScore> rank_labels(const float* logits, size_t count, const std::vector<std::string>& labels, Labels apply = Labels::kOne);
std::vector<LabelScore> rank_tokens(const float* logits, size_t vocabulary, size_t candidates, const text::Tokenizer& tokenizer);

// The span of context tokens with the largest start + end logit so far, over all windows of a question.
struct BestSpan {
  bool found = false;
  double score = 0;
  int begin = 0, end = 0;            // code points of the context
  int byte_begin = 0, byte_end = 0;  // its bytes
};
void improve_span(const Encoding& window, const float* start, const float* end, int max_tokens, BestSpan& best);
TextSpan to_text(const BestSpan& span, const std::string& context);

// Neighbouring words of one label (B-, I- prefixes joined; a word has its first token's label) become one entity. "O" is none.
std::vector<Entity> group_entities(const Encoding& row, const float* logits, size_t classes, const std::vector<std::string>& labels, const std::string& text);

// The longest prefix of `text` with at most `tokens` tokens, special ones not counted.
std::string cut_to_tokens(const text::Tokenizer& tokenizer, const std::string& text, int tokens);

}  // namespace tenon::tasks
