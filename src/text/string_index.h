// A map from strings to numbers for look-ups in the inner loop: flat, open addressing, no allocation after it is
// filled.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tenon::text {

uint64_t hash_of(std::string_view key);

class StringIndex {
 public:
  // Room for `count` keys.
  explicit StringIndex(size_t count = 0);

  // Keys are borrowed: their bytes must outlive the index. `value` is not negative. An earlier value of the same key is
  // replaced; returns whether the key is new. No more than `count` keys may be inserted.
  bool insert(std::string_view key, int32_t value);
  int32_t find(std::string_view key) const;    // -1: not there
  size_t longest() const { return longest_; }  // bytes of the longest key

 private:
  struct Slot {
    const char* data = nullptr;
    uint32_t length = 0;
    int32_t value = -1;
  };
  // Where `key` is, or the empty slot where it belongs.
  size_t slot_of(std::string_view key, uint64_t hash) const;

  // As many of both, a power of two, at most half in use. The tags stand apart because they are small: most keys that
  // are not there are told by one byte in a near cache.
  std::vector<uint8_t> tags_;  // 0: empty; else bits of the key's hash
  std::vector<Slot> slots_;
  size_t longest_ = 0;
};

}  // namespace tenon::text
