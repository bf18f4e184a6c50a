// From text to answers: an engine with its own tokenizer and what its outputs mean.
//
//   tenon::TextModel model("minilm.tenon");
//   std::vector<std::vector<float>> vectors = model.embed({"a sentence", "another"});
//
// Which calls make sense is the engine's task(); the others throw invalid-argument. Texts are UTF-8. Rows of one call run in
// batches without padding. Not for use by two threads at once; several TextModels of one Engine run side by side.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tenon/runtime.h"

namespace tenon {

struct LabelScore {
  std::string label;
  double probability = 0;
};

// A piece of the text that was given: [begin, end) in Unicode code points.
struct TextSpan {
  std::string text;
  int begin = 0, end = 0;
  double score = 0;  // answers: the sum of the start and end logits; entities: the mean probability of the label
};

struct Entity {
  std::string label;
  TextSpan span;
};

// Candidates for one [MASK] of a text, most probable first.
struct MaskedWord {
  int token = 0;  // position of the mask among the text's tokens
  std::vector<LabelScore> candidates;
};

struct TextOptions {
  int max_length = 0;    // tokens; 0: as many as the model has positions
  int batch_tokens = 0;  // rows are grouped into batches of at most this many tokens; 0: as many as the processor needs
  bool strict = false;   // see ContextOptions
};

struct AnswerOptions {
  int stride = 128;          // tokens that neighbouring windows of a long context share
  int max_answer_tokens = 30;
  int max_question_tokens = 64;
  bool truncate = false;  // read only the first window of a long context
};

// Token rows of one run, for outputs that have no task: every output of the engine, row by row.
struct RawOutput {
  std::string name;
  std::vector<int64_t> shape;  // of this text: without the batch axis, without padding
  std::vector<float> values;
};

class TextModel {
 public:
  // Throws what Engine::load throws, and invalid-argument when the engine carries no tokenizer.
  explicit TextModel(const std::string& engine, const TextOptions& options = {}, const RuntimeOptions& runtime = {});
  explicit TextModel(Engine engine, const TextOptions& options = {});
  ~TextModel();
  TextModel(TextModel&&) noexcept;
  TextModel& operator=(TextModel&&) noexcept;

  // "embedding", "encoder", "sequence-classification", "token-classification", "question-answering", "fill-mask", "pretraining"
  // or "".
  const std::string& task() const;
  const std::vector<std::string>& labels() const;

  // One vector per text: the model's sentence embedding, or the mean of its token rows when it has none.
  std::vector<std::vector<float>> embed(const std::vector<std::string>& texts);
  // All labels with probabilities, most probable first: by softmax or, where the model says that any number of labels may apply
  // (multi_label_classification), each by its sigmoid. A model of one label gives its logit as it is. `seconds` is empty, or
  // holds the second text of each pair.
  std::vector<std::vector<LabelScore>> classify(const std::vector<std::string>& texts, const std::vector<std::string>& seconds = {});
  // The best span of the context; empty text when nothing can be answered.
  TextSpan answer(const std::string& question, const std::string& context, const AnswerOptions& options = {});
  // One entry per pair, in the order given; windows of all pairs share batches.
  std::vector<TextSpan> answer(const std::vector<std::string>& questions, const std::vector<std::string>& contexts, const AnswerOptions& options = {});
  std::vector<std::vector<MaskedWord>> fill_masks(const std::vector<std::string>& texts, int candidates = 5);
  std::vector<std::vector<Entity>> entities(const std::vector<std::string>& texts);
  // Every output of the engine for each text.
  std::vector<std::vector<RawOutput>> run(const std::vector<std::string>& texts, const std::vector<std::string>& seconds = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tenon
