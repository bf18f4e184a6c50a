#include "text/vocabulary.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace tenon::text {

void Vocabulary::Entries::add(std::string_view token, int32_t id) {
  list.push_back({bytes.size(), token.size(), id});
  bytes.insert(bytes.end(), token.begin(), token.end());
}

Result<Vocabulary> Vocabulary::build(Entries entries, Duplicates duplicates, const std::string& where) {
  const auto bad = [&](const Entry& entry, std::string_view why) {
    return error(ErrorCode::kBadModel, "{}[\"{}\"]: {}", where, entries.token(entry), why);
  };
  entries.bytes.push_back('\0');  // so that an empty token has an address too
  int32_t last = -1;
  for (const Entry& entry : entries.list) {
    if (entry.id < 0 || entry.id > kMaxId) {
      return bad(entry, fmt::format("the id {} is not between 0 and {}", entry.id, kMaxId));
    }
    if (entry.length > kMaxTokenBytes) return bad(entry, fmt::format("longer than {} bytes", kMaxTokenBytes));
    last = std::max(last, entry.id);
  }
  Vocabulary vocabulary;
  vocabulary.tokens_.resize(static_cast<size_t>(last + 1));
  vocabulary.index_ = StringIndex(entries.list.size());
  for (const Entry& entry : entries.list) {
    const std::string_view token = entries.token(entry);
    std::string_view& of_id = vocabulary.tokens_[static_cast<size_t>(entry.id)];
    if (of_id.data() != nullptr) {
      return bad(entry, fmt::format("has the id {} that \"{}\" has too", entry.id, of_id));
    }
    if (const int32_t earlier = vocabulary.find(token); earlier >= 0) {
      if (duplicates == Duplicates::kReject) return bad(entry, "listed twice");
      vocabulary.tokens_[static_cast<size_t>(earlier)] = {};
      --vocabulary.count_;
    }
    of_id = token;
    vocabulary.index_.insert(token, entry.id);
    ++vocabulary.count_;
  }
  vocabulary.bytes_ = std::move(entries.bytes);
  return vocabulary;
}

std::string vocabulary_json(const Vocabulary& vocabulary) {
  std::string out;
  for (int32_t id = 0; id < vocabulary.id_end(); ++id) {
    if (!vocabulary.has(id)) continue;
    out += fmt::format("{}{}:{}", out.empty() ? "" : ",", nlohmann::json(vocabulary.token(id)).dump(), id);
  }
  return out;
}

}  // namespace tenon::text
