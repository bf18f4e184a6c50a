#include "text/added_tokens.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/log.h"
#include "text/json_node.h"
#include "text/normalizer.h"
#include "text/unicode.h"

namespace tenon::text {
namespace {

bool has_flag_before(std::string_view text, size_t at, CharFlag flag, size_t* begin) {
  if (at == 0) return false;
  size_t p = at - 1;
  while ((static_cast<unsigned char>(text[p]) & 0xC0) == 0x80) --p;
  *begin = p;
  const char* c = text.data() + p;
  return (char_flags(next_code_point(c)) & flag) != 0;
}

bool has_flag_after(std::string_view text, size_t at, CharFlag flag, size_t* end) {
  if (at == text.size()) return false;
  const char* c = text.data() + at;
  const bool has = (char_flags(next_code_point(c)) & flag) != 0;
  *end = static_cast<size_t>(c - text.data());
  return has;
}

}  // namespace

PatternSet::PatternSet(const std::vector<std::pair<std::string, int32_t>>& patterns) : index_(patterns.size()) {
  auto bytes = std::make_unique<std::string>();
  for (const auto& [pattern, value] : patterns) *bytes += pattern;
  std::set<size_t, std::greater<>> lengths;
  std::set<unsigned char> firsts;
  size_t at = 0;
  for (const auto& [pattern, value] : patterns) {
    const std::string_view key = std::string_view(*bytes).substr(at, pattern.size());
    at += pattern.size();
    if (key.empty() || index_.find(key) >= 0) continue;
    index_.insert(key, value);
    lengths.insert(key.size());
    firsts.insert(static_cast<unsigned char>(key[0]));
  }
  bytes_ = std::move(bytes);
  lengths_.assign(lengths.begin(), lengths.end());
  for (const unsigned char c : firsts) first_byte_[c] = true;
  if (firsts.size() == 1) only_first_byte_ = *firsts.begin();
}

std::optional<PatternSet::Hit> PatternSet::find(std::string_view text, size_t from) const {
  if (empty()) return std::nullopt;
  for (size_t at = from; at < text.size(); ++at) {
    if (only_first_byte_ >= 0) {
      const void* p = std::memchr(text.data() + at, only_first_byte_, text.size() - at);
      if (p == nullptr) return std::nullopt;
      at = static_cast<size_t>(static_cast<const char*>(p) - text.data());
    } else if (!first_byte_[static_cast<unsigned char>(text[at])]) {
      continue;
    }
    for (const size_t length : lengths_) {
      if (length > text.size() - at) continue;
      const int32_t value = index_.find(text.substr(at, length));
      if (value >= 0) return Hit{at, at + length, value};
    }
  }
  return std::nullopt;
}

Result<AddedToken> AddedTokens::token_from_json(const JsonNode& node) {
  AddedToken token;
  TENON_ASSIGN(const JsonNode content, node.at("content"));
  TENON_ASSIGN(token.content, content.string());
  if (token.content.size() > Vocabulary::kMaxTokenBytes) {
    return content.bad(fmt::format("longer than {} bytes", Vocabulary::kMaxTokenBytes));
  }
  TENON_ASSIGN(const int64_t id, node.integer("id", 0, Vocabulary::kMaxId, -1));
  token.id = static_cast<int32_t>(id);
  TENON_ASSIGN(token.special, node.boolean("special", false));
  TENON_ASSIGN(token.single_word, node.boolean("single_word", false));
  TENON_ASSIGN(token.lstrip, node.boolean("lstrip", false));
  TENON_ASSIGN(token.rstrip, node.boolean("rstrip", false));
  TENON_ASSIGN(token.normalized, node.boolean("normalized", !token.special));
  return token;
}

Result<AddedTokens> AddedTokens::build(std::vector<AddedToken> tokens, const Vocabulary& vocabulary,
                                       const Normalizer& normalizer, const std::string& where) {
  AddedTokens added;
  std::map<int32_t, std::string> stated;
  int32_t next = vocabulary.size();
  for (AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    if (token.id >= 0) {
      const auto [at, fresh] = stated.emplace(token.id, token.content);
      if (!fresh && at->second != token.content) {
        return error(ErrorCode::kBadModel, "{}: \"{}\" has the id {} that \"{}\" has too", where, token.content,
                     token.id, at->second);
      }
    }
    const auto known = added.by_content_.find(token.content);
    const int32_t in_vocabulary = vocabulary.find(token.content);
    int32_t id = in_vocabulary;
    if (known != added.by_content_.end()) {
      id = added.tokens_[known->second].id;
    } else if (in_vocabulary < 0) {
      id = next++;
      ++added.beyond_vocabulary_;
      if (vocabulary.has(id)) {
        return error(ErrorCode::kBadModel, "{}: \"{}\" would get the id {} that \"{}\" has in the vocabulary", where,
                     token.content, id, vocabulary.token(id));
      }
    }
    if (token.id >= 0 && token.id != id) {
      log(LogLevel::kWarn, "{}: \"{}\" is stated to have the id {} but has {}", where, token.content, token.id, id);
    }
    token.id = id;
    if (known != added.by_content_.end()) {
      added.tokens_[known->second] = std::move(token);
      continue;
    }
    added.by_content_.emplace(token.content, added.tokens_.size());
    added.by_id_.emplace(id, added.tokens_.size());
    added.tokens_.push_back(std::move(token));
  }
  std::vector<std::pair<std::string, int32_t>> source, normalized;
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    const AddedToken& token = added.tokens_[i];
    if (token.normalized) {
      normalized.emplace_back(normalizer.apply(token.content), static_cast<int32_t>(i));
    } else {
      source.emplace_back(token.content, static_cast<int32_t>(i));
    }
  }
  added.source_ = PatternSet(source);
  added.normalized_ = PatternSet(normalized);
  return added;
}

nlohmann::json AddedTokens::to_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [id, index] : by_id_) {
    const AddedToken& token = tokens_[index];
    list.push_back({{"id", id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  }
  return list;
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

void AddedTokens::split(const PatternSet& patterns, std::string_view text, std::vector<Part>& parts) const {
  parts.clear();
  size_t done = 0;
  const auto gap = [&](size_t end) {
    if (done < end) parts.push_back({done, end, -1, done, end});
  };
  size_t from = 0;
  while (const std::optional<PatternSet::Hit> hit = patterns.find(text, from)) {
    from = hit->end;
    const AddedToken& token = tokens_[static_cast<size_t>(hit->value)];
    size_t begin = hit->begin, end = hit->end, other;
    if (token.single_word &&
        (has_flag_before(text, begin, kWord, &other) || has_flag_after(text, end, kWord, &other))) {
      continue;
    }
    if (token.lstrip) {
      begin = std::max(begin, done);
      while (begin > done && has_flag_before(text, begin, kSpace, &other)) begin = other;
    }
    if (token.rstrip) {
      while (has_flag_after(text, end, kSpace, &other)) end = other;
    }
    gap(begin);
    parts.push_back({begin, end, token.id, hit->begin, hit->end});
    done = end;
  }
  gap(text.size());
}

}  // namespace tenon::text
