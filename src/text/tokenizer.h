// The tokenizer as the rest of Tenon uses it: text to ids with offsets, as Hugging Face `tokenizers` gives them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tenon/tokenizer.h"

namespace tenon {
class ThreadPool;
}

namespace tenon::text {

struct TokenizerParts;

// What vocab.txt does not say. The defaults are those of bert-base-uncased.
struct VocabSettings {
  bool lowercase = true;
  int strip_accents = -1;  // 1: yes, 0: no, -1: as `lowercase`
  bool handle_chinese_chars = true;
  std::string unk_token = "[UNK]";
  std::string cls_token = "[CLS]";
  std::string sep_token = "[SEP]";
  std::string pad_token = "[PAD]";
  std::string mask_token = "[MASK]";
  int32_t model_max_length = 0;  // tokens; 0: not stated
};

// Immutable and safe to share between threads. Encoding never fails: bytes that are not UTF-8 are read as U+FFFD, and
// options that make no sense (negative, or a stride that leaves no room) are clamped.
class Tokenizer {
 public:
  // Reads the tokenizer of a folder: tokenizer.json, or else a SentencePiece model, vocab.json with merges.txt, or
  // vocab.txt; with tokenizer_config.json and special_tokens_map.json where present. Errors: not-found, io, bad-model
  // (naming file and field), unsupported (naming the model's type).
  static Result<std::shared_ptr<const Tokenizer>> from_folder(const std::string& dir);
  // The text of a tokenizer.json; `name` stands for the file in messages.
  static Result<std::shared_ptr<const Tokenizer>> from_json(std::string_view text, const std::string& name);
  // The text of a vocab.txt: one token a line, the line's index is the id.
  static Result<std::shared_ptr<const Tokenizer>> from_vocab(std::string_view text, const VocabSettings& settings,
                                                             const std::string& name);
  // The bytes of a SentencePiece model.
  static Result<std::shared_ptr<const Tokenizer>> from_sentencepiece(std::string_view bytes, const std::string& name);
  // The inverse of serialize.
  static Result<std::shared_ptr<const Tokenizer>> deserialize(std::string_view blob);
  ~Tokenizer();

  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;
  Encoding encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options = {}) const;
  // Rows come in the order of `texts`; `pool` may be null.
  std::vector<Encoding> encode_batch(std::span<const std::string> texts, const EncodeOptions& options = {},
                                     ThreadPool* pool = nullptr) const;
  // `firsts` and `seconds` have the same size.
  std::vector<Encoding> encode_pair_batch(std::span<const std::string> firsts, std::span<const std::string> seconds,
                                          const EncodeOptions& options = {}, ThreadPool* pool = nullptr) const;
  // All windows of `context` that overlap by `stride` tokens, each behind the whole question. A question that leaves no
  // room for more than `stride` tokens of context is itself cut.
  std::vector<Encoding> encode_windows(std::string_view question, std::string_view context, int max_length,
                                       int stride) const;
  // The same for one long text.
  std::vector<Encoding> encode_windows(std::string_view text, int max_length, int stride) const;

  // A self-contained, canonical text: equal tokenizers give equal bytes.
  std::string serialize() const;

  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;
  int32_t token_to_id(std::string_view token) const;  // -1: not in the vocabulary
  std::string_view id_to_token(int32_t id) const;     // empty: not in the vocabulary
  int32_t pad_id() const;                             // -1, here and below: the tokenizer has none
  int32_t mask_id() const;
  int32_t cls_id() const;
  int32_t sep_id() const;
  int32_t unk_id() const;
  int32_t vocab_size() const;        // tokens, added ones included
  int32_t model_max_length() const;  // tokens; 0: not stated

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  static Result<std::shared_ptr<const Tokenizer>> from_parts(Result<TokenizerParts> parts);
  std::vector<Encoding> encode_rows(std::span<const std::string> firsts, std::span<const std::string> seconds,
                                    const EncodeOptions& options, ThreadPool* pool) const;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace tenon::text
