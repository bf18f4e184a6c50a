// JSON from outside: values that know their place in the file, so that every complaint names file and field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/vocabulary.h"

namespace tenon::text {

// A value and its place: "tokenizer.json: normalizer.lowercase". Borrows the value.
class JsonNode {
 public:
  // The whole of a file.
  JsonNode(const nlohmann::json& value, std::string name) : JsonNode(value, std::move(name), ": ") {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& where() const { return where_; }
  Status bad(std::string_view why) const { return error(ErrorCode::kBadModel, "{}: {}", where_, why); }
  Status unsupported(std::string_view why) const { return error(ErrorCode::kUnsupported, "{}: {}", where_, why); }

  // Errors of all of these: bad-model when the value is of another type.
  Result<std::string> string() const;
  Result<int64_t> integer(int64_t least, int64_t most) const;
  Result<std::vector<JsonNode>> elements() const;
  Result<std::vector<std::pair<std::string, JsonNode>>> members() const;

  // A member that may be absent or null.
  Result<std::optional<JsonNode>> find(const char* key) const;
  // A member that must be there.
  Result<JsonNode> at(const char* key) const;
  // Members with a value for when they are absent or null.
  Result<std::string> string(const char* key, std::string fallback) const;
  Result<bool> boolean(const char* key, bool fallback) const;
  Result<int64_t> integer(const char* key, int64_t least, int64_t most, int64_t fallback) const;

 private:
  JsonNode(const nlohmann::json& value, std::string where, const char* separator)
      : value_(&value), where_(std::move(where)), separator_(separator) {}
  JsonNode child(const nlohmann::json& value, std::string_view key) const;
  Status wrong_type(std::string_view wanted) const;

  const nlohmann::json* value_;
  std::string where_;
  const char* separator_;  // between `where_` and the name of a member
};

// A parsed file, except that model.vocab and model.merges of a tokenizer.json are read straight into lists: as trees of
// values they would take most of the time of loading.
struct JsonFile {
  nlohmann::json root;
  Vocabulary::Entries vocab;   // of an object, or of a list of tokens with their scores, whose ids count up
  std::vector<double> scores;  // of such a list
  std::vector<std::pair<std::string, std::string>> merges;
  bool has_vocab = false, has_scores = false;
};

// Errors: bad-model (not JSON, nested too deep, a key twice, a token's id or score that is no number, a merge that is
// no pair).
Result<JsonFile> parse_json(std::string_view text, const std::string& name);
// The same for a vocab.json, whose root is what model.vocab is.
Result<JsonFile> parse_vocab_json(std::string_view text, const std::string& name);
// "left right" as in a merges.txt. Errors: bad-model.
Result<std::pair<std::string, std::string>> split_merge(std::string_view line, const std::string& where);

}  // namespace tenon::text
