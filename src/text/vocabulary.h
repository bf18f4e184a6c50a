// The tokens of a subword model and their ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/string_index.h"

namespace tenon::text {

class Vocabulary {
 public:
  static constexpr int32_t kMaxId = (1 << 22) - 1;
  static constexpr size_t kMaxTokenBytes = 1024;

  // Tokens as a file lists them. The bytes of all tokens stand one behind the other in `bytes`.
  struct Entry {
    size_t offset;
    size_t length;
    int32_t id;
  };
  struct Entries {
    std::vector<char> bytes;
    std::vector<Entry> list;
    void add(std::string_view token, int32_t id);
    std::string_view token(const Entry& entry) const { return {bytes.data() + entry.offset, entry.length}; }
  };
  enum class Duplicates {
    kReject,
    kLastWins,  // a token that is listed again moves to its later id, as in a vocab.txt
  };

  // Errors: bad-model (an id or a token twice, an id out of range, a token too long); `where` begins the message.
  static Result<Vocabulary> build(Entries entries, Duplicates duplicates, const std::string& where);

  int32_t find(std::string_view token) const { return index_.find(token); }  // -1: not there
  bool has(int32_t id) const { return id >= 0 && id < id_end() && tokens_[static_cast<size_t>(id)].data() != nullptr; }
  std::string_view token(int32_t id) const { return has(id) ? tokens_[static_cast<size_t>(id)] : std::string_view(); }
  int32_t size() const { return count_; }
  int32_t id_end() const { return static_cast<int32_t>(tokens_.size()); }  // one more than the largest id
  const StringIndex& index() const { return index_; }

 private:
  std::vector<char> bytes_;
  std::vector<std::string_view> tokens_;  // by id; without data where there is none
  StringIndex index_;
  int32_t count_ = 0;
};

// "token":id,… by id, as tokenizer.json has it.
std::string vocabulary_json(const Vocabulary& vocabulary);

}  // namespace tenon::text
