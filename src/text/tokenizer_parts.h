// What a tokenizer consists of, and the files that it is read from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "text/decoder.h"
#include "text/pipeline.h"
#include "text/post_processor.h"
#include "text/tokenizer.h"

namespace tenon::text {

// What a tokenizer.json does not say. An empty name: not stated.
struct TokenizerSettings {
  std::string cls_token, sep_token, pad_token, mask_token;
  int32_t pad_type_id = 0;
  int32_t model_max_length = 0;  // tokens; 0: not stated
};

struct TokenizerConfig;

struct TokenizerParts {
  Pipeline pipeline;
  PostProcessor post_processor;
  Decoder decoder;
  TokenizerSettings settings;

  int32_t token_to_id(std::string_view token) const;  // -1: not there
};

TokenizerParts make_parts(Normalizer normalizer, PreTokenizer pre_tokenizer, std::unique_ptr<const Model> model,
                          AddedTokens added, PostProcessor post_processor, Decoder decoder, TokenizerSettings settings);

// Errors of all of these: bad-model (naming file and field), unsupported (naming the type).
Result<TokenizerParts> parts_from_json(std::string_view text, const std::string& name);
Result<TokenizerParts> parts_from_vocab(std::string_view text, const VocabSettings& settings,
                                        std::vector<AddedToken> added, const std::string& name);
// vocab.json and merges.txt of a byte-level BPE. `name`: the folder.
Result<TokenizerParts> parts_from_merges(std::string_view vocab, std::string_view merges, const TokenizerConfig& config,
                                         const std::string& name);
// A SentencePiece model. What the model does not say (special tokens, how they stand around a text) follows from the
// tokenizer class in `config`, or else from the file's usual name.
Result<TokenizerParts> parts_from_sentencepiece(std::string_view bytes, const TokenizerConfig& config,
                                                const std::string& name);
// Also: not-found, io.
Result<TokenizerParts> parts_from_folder(const std::string& dir);

// A tokenizer.json with one more member, "tenon", that holds the settings. parts_from_json reads it back.
std::string parts_to_json(const TokenizerParts& parts);

}  // namespace tenon::text
