// Post-processors: special tokens around one text or a pair, and which type id each token gets.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace tenon::text {

class JsonNode;

class PostProcessor {
 public:
  // One element of a template: the first text, the second, or special tokens.
  struct Item {
    enum Kind { kFirst, kSecond, kSpecial } kind;
    int32_t type_id;
    std::string name;                 // of kSpecial: how the template refers to them
    std::vector<int32_t> ids;         // of kSpecial
    std::vector<std::string> tokens;  // of kSpecial: one for each id
  };
  using Template = std::vector<Item>;
  // `trim_offsets` of RobertaProcessing and ByteLevel: white space of a token is not part of its offsets.
  struct Trim {
    bool add_prefix_space;  // a single blank before the first token stays
  };

  PostProcessor();  // no special tokens; type ids 0 and 1
  PostProcessor(Template single, Template pair, std::optional<Trim> trim = {});
  // [CLS] first [SEP] second [SEP].
  static PostProcessor bert(std::pair<std::string, int32_t> cls, std::pair<std::string, int32_t> sep);
  // <s> first </s></s> second </s>.
  static PostProcessor roberta(const std::pair<std::string, int32_t>& cls, const std::pair<std::string, int32_t>& sep,
                               std::optional<Trim> trim);
  // first </s> second </s>, as T5 has it.
  static PostProcessor t5(const std::pair<std::string, int32_t>& eos);
  // <s> first <s> second, as LLaMA has it.
  static PostProcessor llama(const std::pair<std::string, int32_t>& bos);
  // The "post_processor" object of a tokenizer.json. Errors: bad-model, unsupported.
  static Result<PostProcessor> from_json(const JsonNode& node);
  nlohmann::json to_json() const;

  const Template& items(bool pair) const { return pair ? pair_ : single_; }
  // Special tokens that the template adds.
  int special_count(bool pair) const;
  const std::optional<Trim>& trim() const { return trim_; }

 private:
  static Result<PostProcessor> from_sequence(const JsonNode& node);

  Template single_, pair_;
  std::optional<Trim> trim_;
};

}  // namespace tenon::text
