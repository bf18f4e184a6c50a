#include "text/string_index.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace tenon::text {
namespace {

template <class T>
uint64_t load(const char* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

uint64_t fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Words are short: the first and the last bytes, overlapping, are all of them.
uint64_t hash(std::string_view key) {
  constexpr uint64_t kSeedA = 0x9e3779b97f4a7c15u, kSeedB = 0xd6e8feb86659fd93u;
  const char* p = key.data();
  size_t n = key.size();
  uint64_t a = n, b = n;
  if (n >= 8) {
    for (; n > 16; n -= 8, p += 8) b = fold(b ^ load<uint64_t>(p), kSeedB);
    a ^= load<uint64_t>(p), b ^= load<uint64_t>(p + n - 8);
  } else if (n >= 4) {
    a ^= load<uint32_t>(p) << 8, b ^= load<uint32_t>(p + n - 4) << 8;
  } else if (n > 0) {
    a ^= (load<uint8_t>(p) << 16 | load<uint8_t>(p + n / 2) << 8 | load<uint8_t>(p + n - 1)) << 8;
  }
  return fold(a ^ kSeedA, b ^ kSeedB);
}

uint16_t tag_of(uint64_t h) { return static_cast<uint16_t>(h >> 48); }

}  // namespace

StringIndex::StringIndex(size_t count) : slots_(std::bit_ceil(2 * count + 2)) {}

StringIndex::Slot& StringIndex::slot_of(std::string_view key) {
  const uint64_t h = hash(key);
  const size_t mask = slots_.size() - 1;
  size_t at = h & mask;
  while (slots_[at].value >= 0 && std::string_view(slots_[at].data, slots_[at].length) != key) at = (at + 1) & mask;
  slots_[at].tag = tag_of(h);
  return slots_[at];
}

bool StringIndex::insert(std::string_view key, int32_t value) {
  Slot& slot = slot_of(key);
  const bool fresh = slot.value < 0;
  slot.data = key.data();
  slot.length = static_cast<uint16_t>(key.size());
  slot.value = value;
  longest_ = std::max(longest_, key.size());
  return fresh;
}

int32_t StringIndex::find(std::string_view key) const {
  const uint64_t h = hash(key);
  const size_t mask = slots_.size() - 1;
  for (size_t at = h & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.value < 0) return -1;
    if (slot.tag == tag_of(h) && slot.length == key.size() && std::memcmp(slot.data, key.data(), key.size()) == 0) {
      return slot.value;
    }
  }
}

}  // namespace tenon::text
