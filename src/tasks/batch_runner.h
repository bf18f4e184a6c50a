// Runs encoded texts through an engine in batches.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tenon/runtime.h"
#include "tenon/text_model.h"
#include "text/tokenizer.h"

namespace tenon::tasks {

// One output of a batch, as floats.
struct BatchOutput {
  std::string name;
  std::vector<int64_t> shape;  // [batch, …]; token-level outputs [batch, seq, …], zero at padding
  const float* values = nullptr;

  int64_t row_size() const {
    int64_t n = 1;
    for (size_t i = 1; i < shape.size(); ++i) n *= shape[i];
    return n;
  }
  const float* row(int64_t i) const { return values + i * row_size(); }
};

class BatchRunner {
 public:
  BatchRunner(Engine engine, const TextOptions& options);

  const Engine& engine() const { return engine_; }
  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  // The longest row that the engine takes, in tokens; the caller's limit, the tokenizer's and the position table's, whichever is least.
  int max_length() const { return max_length_; }
  bool has_input(const std::string& name) const;

  // Extra inputs of a batch beside ids, types and mask, by name: i64 [batch, n].
  using ExtraInput = std::function<std::vector<int64_t>(size_t first, size_t count, int64_t& columns)>;
  // Calls `take(first, outputs)` after each batch with the outputs of rows [first, first + shape[0]).
  void run(const std::vector<Encoding>& rows, const std::function<void(size_t first, const std::vector<BatchOutput>&)>& take,
           const std::string& extra_name = "", const ExtraInput& extra = {});

 private:
  Engine engine_;
  size_t batch_tokens_ = 0;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  ExecutionContext context_;
  int max_length_ = 0;
};

}  // namespace tenon::tasks
