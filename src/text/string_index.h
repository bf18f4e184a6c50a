// A map from strings to numbers for look-ups in the inner loop: flat, open addressing, no allocation after it is filled.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tenon::text {

class StringIndex {
 public:
  static constexpr size_t kMaxKeyLength = 65535;  // bytes

  // Room for `count` keys.
  explicit StringIndex(size_t count = 0);

  // Keys are borrowed: their bytes must outlive the index. `value` is not negative. An earlier value of the same key is
  // replaced; returns whether the key is new. No more than `count` keys may be inserted.
  bool insert(std::string_view key, int32_t value);
  int32_t find(std::string_view key) const;  // -1: not there
  size_t longest() const { return longest_; }  // bytes of the longest key

 private:
  struct Slot {
    const char* data = nullptr;
    uint16_t length = 0;
    uint16_t tag = 0;  // more bits of the hash: most other keys are told apart without touching their bytes
    int32_t value = -1;
  };
  Slot& slot_of(std::string_view key);

  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t longest_ = 0;
};

}  // namespace tenon::text
