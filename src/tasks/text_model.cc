#include "tenon/text_model.h"

#include <algorithm>
#include <cmath>

#include "runtime/executable.h"
#include "tasks/answers.h"
#include "tasks/batch_runner.h"

namespace tenon {

using tasks::BatchOutput;
using tasks::BatchRunner;

struct TextModel::Impl {
  Impl(Engine engine, const TextOptions& options) : runner(std::move(engine), options), metadata(runner.engine().executable()->file().metadata()) {}

  void require(std::initializer_list<const char*> tasks, const char* call) const {
    for (const char* task : tasks)
      if (metadata.task == task) return;
    throw Error(ErrorCode::kInvalidArgument, std::string(call) + " needs an engine for " + *tasks.begin() + "; this one is for " +
                                                 (metadata.task.empty() ? "an unknown task (build with --task)" : metadata.task));
  }

  std::vector<Encoding> encode(const std::vector<std::string>& texts, const std::vector<std::string>& seconds) const {
    EncodeOptions options;
    options.max_length = runner.max_length();
    ThreadPool& pool = runner.engine().executable()->pool();
    if (seconds.empty()) return runner.tokenizer().encode_batch(texts, options, &pool);
    if (seconds.size() != texts.size()) throw Error(ErrorCode::kInvalidArgument, "pairs need as many second texts as first ones");
    return runner.tokenizer().encode_pair_batch(texts, seconds, options, &pool);
  }

  BatchRunner runner;
  const engine::Metadata& metadata;
};

TextModel::TextModel(const std::string& engine, const TextOptions& options, const RuntimeOptions& runtime)
    : TextModel(Engine::load(engine, runtime), options) {}
TextModel::TextModel(Engine engine, const TextOptions& options) : impl_(std::make_unique<Impl>(std::move(engine), options)) {}
TextModel::~TextModel() = default;
TextModel::TextModel(TextModel&&) noexcept = default;
TextModel& TextModel::operator=(TextModel&&) noexcept = default;

const std::string& TextModel::task() const { return impl_->metadata.task; }
const std::vector<std::string>& TextModel::labels() const { return impl_->metadata.labels; }

std::vector<std::vector<float>> TextModel::embed(const std::vector<std::string>& texts) {
  impl_->require({"embedding", "encoder", ""}, "embed");
  const std::vector<Encoding> rows = impl_->encode(texts, {});
  std::vector<std::vector<float>> vectors(texts.size());
  impl_->runner.run(rows, [&](size_t first, const std::vector<BatchOutput>& outputs) {
    const BatchOutput* pooled = tasks::find_output(outputs, {"sentence_embedding", "embeddings", "embedding"});
    const BatchOutput* tokens = tasks::find_output(outputs, {"last_hidden_state", "token_embeddings"});
    if (pooled == nullptr && tokens == nullptr && !outputs.empty()) (outputs[0].shape.size() == 2 ? pooled : tokens) = &outputs[0];
    const BatchOutput* source = pooled != nullptr ? pooled : tokens;
    if (source == nullptr) throw Error(ErrorCode::kInvalidArgument, "embed: the engine has no float output");
    for (int64_t r = 0; r < source->shape[0]; ++r) {
      const size_t row = first + static_cast<size_t>(r);
      vectors[row] = pooled != nullptr ? std::vector<float>(pooled->row(r), pooled->row(r) + pooled->row_size())
                                       : tasks::mean_of_rows(tokens->row(r), rows[row].size(), static_cast<size_t>(tokens->shape.back()));
    }
  });
  return vectors;
}

std::vector<std::vector<LabelScore>> TextModel::classify(const std::vector<std::string>& texts, const std::vector<std::string>& seconds) {
  impl_->require({"sequence-classification"}, "classify");
  std::vector<std::vector<LabelScore>> results(texts.size());
  const tasks::Labels apply = tasks::labels_of(impl_->metadata.properties);
  impl_->runner.run(impl_->encode(texts, seconds), [&](size_t first, const std::vector<BatchOutput>& outputs) {
    const BatchOutput& logits = tasks::require_output(outputs, {"logits"});
    for (int64_t r = 0; r < logits.shape[0]; ++r)
      results[first + static_cast<size_t>(r)] = tasks::rank_labels(logits.row(r), static_cast<size_t>(logits.row_size()), labels(), apply);
  });
  return results;
}

TextSpan TextModel::answer(const std::string& question, const std::string& context, const AnswerOptions& options) {
  return answer(std::vector<std::string>{question}, std::vector<std::string>{context}, options)[0];
}

std::vector<TextSpan> TextModel::answer(const std::vector<std::string>& questions, const std::vector<std::string>& contexts, const AnswerOptions& options) {
  impl_->require({"question-answering"}, "answer");
  if (questions.size() != contexts.size()) throw Error(ErrorCode::kInvalidArgument, "answer: one context per question is needed");
  const text::Tokenizer& tokenizer = impl_->runner.tokenizer();
  std::vector<Encoding> windows;
  std::vector<size_t> owner;
  for (size_t i = 0; i < questions.size(); ++i) {
    const std::string question = tasks::cut_to_tokens(tokenizer, questions[i], options.max_question_tokens);
    for (Encoding& window : tokenizer.encode_windows(question, contexts[i], impl_->runner.max_length(), options.stride)) {
      windows.push_back(std::move(window));
      owner.push_back(i);
      if (options.truncate) break;
    }
  }
  std::vector<tasks::BestSpan> best(questions.size());
  impl_->runner.run(windows, [&](size_t first, const std::vector<BatchOutput>& outputs) {
    const BatchOutput& start = tasks::require_output(outputs, {"start_logits"});
    const BatchOutput& end = tasks::require_output(outputs, {"end_logits"});
    for (int64_t r = 0; r < start.shape[0]; ++r) {
      const size_t w = first + static_cast<size_t>(r);
      tasks::improve_span(windows[w], start.row(r), end.row(r), options.max_answer_tokens, best[owner[w]]);
    }
  });
  std::vector<TextSpan> answers;
  for (size_t i = 0; i < questions.size(); ++i) answers.push_back(tasks::to_text(best[i], contexts[i]));
  return answers;
}

std::vector<std::vector<MaskedWord>> TextModel::fill_masks(const std::vector<std::string>& texts, int candidates) {
  impl_->require({"fill-mask", "pretraining"}, "fill_masks");
  const text::Tokenizer& tokenizer = impl_->runner.tokenizer();
  const std::vector<Encoding> rows = impl_->encode(texts, {});
  std::vector<std::vector<MaskedWord>> results(texts.size());
  size_t most = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t t = 0; t < rows[r].size(); ++t)
      if (rows[r].ids[t] == tokenizer.mask_id()) results[r].push_back({static_cast<int>(t), {}});
    most = std::max(most, results[r].size());
  }
  if (most == 0) throw Error(ErrorCode::kInvalidArgument, "fill_masks: no text holds " + std::string(tokenizer.id_to_token(tokenizer.mask_id())));
  // Engines that compute asked rows only are told which; others give logits for every token.
  const bool gathers = impl_->runner.has_input("masked_positions");
  const auto positions = [&](size_t first, size_t count, int64_t& columns) {
    columns = static_cast<int64_t>(most);
    std::vector<int64_t> values(count * most, 0);
    for (size_t r = 0; r < count; ++r)
      for (size_t m = 0; m < results[first + r].size(); ++m) values[r * most + m] = results[first + r][m].token;
    return values;
  };
  impl_->runner.run(
      rows,
      [&](size_t first, const std::vector<BatchOutput>& outputs) {
        const BatchOutput& logits = tasks::require_output(outputs, {"logits", "prediction_logits"});
        const auto vocab = static_cast<size_t>(logits.shape.back());
        for (int64_t r = 0; r < logits.shape[0]; ++r) {
          auto& masks = results[first + static_cast<size_t>(r)];
          for (size_t m = 0; m < masks.size(); ++m) {
            const size_t at = gathers ? m : static_cast<size_t>(masks[m].token);
            masks[m].candidates = tasks::rank_tokens(logits.row(r) + at * vocab, vocab, static_cast<size_t>(candidates), tokenizer);
          }
        }
      },
      gathers ? "masked_positions" : "", positions);
  return results;
}

std::vector<std::vector<Entity>> TextModel::entities(const std::vector<std::string>& texts) {
  impl_->require({"token-classification"}, "entities");
  const std::vector<Encoding> rows = impl_->encode(texts, {});
  std::vector<std::vector<Entity>> results(texts.size());
  impl_->runner.run(rows, [&](size_t first, const std::vector<BatchOutput>& outputs) {
    const BatchOutput& logits = tasks::require_output(outputs, {"logits"});
    for (int64_t r = 0; r < logits.shape[0]; ++r) {
      const size_t row = first + static_cast<size_t>(r);
      results[row] = tasks::group_entities(rows[row], logits.row(r), static_cast<size_t>(logits.shape.back()), labels(), texts[row]);
    }
  });
  return results;
}

std::vector<std::vector<RawOutput>> TextModel::run(const std::vector<std::string>& texts, const std::vector<std::string>& seconds) {
  const std::vector<Encoding> rows = impl_->encode(texts, seconds);
  std::vector<std::vector<RawOutput>> results(texts.size());
  impl_->runner.run(rows, [&](size_t first, const std::vector<BatchOutput>& outputs) {
    for (const BatchOutput& out : outputs) {
      if (out.shape.empty()) continue;
      for (int64_t r = 0; r < out.shape[0]; ++r) {
        const size_t row = first + static_cast<size_t>(r);
        RawOutput raw{out.name, {out.shape.begin() + 1, out.shape.end()}, {}};
        // Token-level outputs are cut to the text's own length.
        const bool per_token = out.shape.size() >= 2 && out.shape[1] >= static_cast<int64_t>(rows[row].size()) &&
                               (out.name == "last_hidden_state" || out.shape.size() >= 3);
        if (per_token) raw.shape[0] = static_cast<int64_t>(rows[row].size());
        int64_t count = 1;
        for (int64_t d : raw.shape) count *= d;
        raw.values.assign(out.row(r), out.row(r) + count);
        results[row].push_back(std::move(raw));
      }
    }
  });
  return results;
}

}  // namespace tenon
