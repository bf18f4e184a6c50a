// Text to token ids and back: the public face of src/text.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tenon {

// Which sequence gives up tokens when a text, or a pair of texts, is longer than EncodeOptions::max_length.
enum class Truncation {
  kLongestFirst,  // the longer one first, until both are equal; then both alike
  kOnlyFirst,
  kOnlySecond,
};

enum class Padding {
  kNone,
  kLongest,  // to the longest row of the batch
  kFixed,    // to EncodeOptions::pad_length
};

enum class Side { kRight, kLeft };

struct EncodeOptions {
  int max_length = 0;  // tokens, special ones included; 0: no limit
  Truncation truncation = Truncation::kLongestFirst;
  Side truncation_side = Side::kRight;  // the end that is cut off
  int stride = 0;                       // tokens that neighbouring windows share (encode_windows only)
  bool add_special_tokens = true;
  Padding padding = Padding::kNone;
  int pad_length = 0;       // tokens, for Padding::kFixed
  int pad_to_multiple = 0;  // padded lengths are rounded up to a multiple of this; 0: not
  Side padding_side = Side::kRight;
};

// One row of tokens. All vectors have one element per token.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;             // 0 in the first text, 1 in the second (as the tokenizer's template says)
  std::vector<int32_t> attention_mask;       // 1, or 0 on padding
  std::vector<int32_t> special_tokens_mask;  // 1 on tokens that no text gave: [CLS], [SEP], padding
  std::vector<int32_t> word_ids;             // index of the word within its text; -1 on special tokens
  std::vector<int32_t> sequence_ids;         // 0 or 1: the text that the token came from; -1 on special tokens
  // [begin, end) within the text that the token came from; (0, 0) on special tokens.
  std::vector<std::pair<int32_t, int32_t>> offsets;       // in Unicode code points
  std::vector<std::pair<int32_t, int32_t>> byte_offsets;  // in bytes of UTF-8

  size_t size() const { return ids.size(); }
};

// A tokenizer read from a model's files. Immutable: one object serves any number of threads.
//
// Texts are UTF-8; bytes that are not valid UTF-8 are read as U+FFFD, each maximal invalid part as one code point.
class Tokenizer {
 public:
  // `path`: a tokenizer.json, a vocab.txt, a SentencePiece model (*.model), or a folder that holds one of them or a
  // vocab.json with its merges.txt.
  // Errors: not-found, io, bad-model (naming file and field), unsupported (naming the kind of model).
  static Tokenizer load(const std::string& path);

  // Errors of all of these: invalid-argument (negative lengths).
  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;
  Encoding encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options = {}) const;
  // `threads`: 0: as many as the process may use. Rows come in the order of `texts`.
  std::vector<Encoding> encode_batch(std::span<const std::string> texts, const EncodeOptions& options = {},
                                     int threads = 1) const;
  // A question against a context of any length: rows of at most `max_length` tokens that overlap by `stride` tokens of
  // the context. Errors: invalid-argument when `stride` tokens do not fit.
  std::vector<Encoding> encode_windows(std::string_view question, std::string_view context, int max_length,
                                       int stride) const;

  // The text of `ids`; ids that the vocabulary lacks are left out.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  int32_t token_to_id(std::string_view token) const;  // -1: not in the vocabulary
  std::string id_to_token(int32_t id) const;          // empty: not in the vocabulary
  int32_t pad_id() const;                             // -1, here and below: the tokenizer has none
  int32_t mask_id() const;
  int32_t cls_id() const;
  int32_t sep_id() const;
  int32_t unk_id() const;
  int32_t vocab_size() const;        // tokens, added ones included
  int32_t model_max_length() const;  // tokens; 0: not stated

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace tenon
