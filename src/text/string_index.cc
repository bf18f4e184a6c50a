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

// A key of up to 16 bytes as two numbers: its first and its last bytes, which may overlap. Together with the length
// they are the whole key.
struct Ends {
  uint64_t first, last;
  bool operator==(const Ends&) const = default;
};

Ends ends(const char* p, size_t n) {
  if (n >= 8) return {load<uint64_t>(p), load<uint64_t>(p + n - 8)};
  if (n >= 4) return {load<uint32_t>(p), load<uint32_t>(p + n - 4)};
  if (n == 0) return {0, 0};
  return {load<uint8_t>(p) << 8 | load<uint8_t>(p + n / 2), load<uint8_t>(p + n - 1)};
}

uint8_t tag_of(uint64_t hash) { return static_cast<uint8_t>(hash >> 56 | 1); }

bool equal(std::string_view key, const char* data, size_t length) {
  if (key.size() != length) return false;
  if (length > 16) return std::memcmp(key.data(), data, length) == 0;
  return ends(key.data(), length) == ends(data, length);
}

}  // namespace

uint64_t hash_of(std::string_view key) {
  constexpr uint64_t kSeedA = 0x9e3779b97f4a7c15u, kSeedB = 0xd6e8feb86659fd93u;
  const char* p = key.data();
  size_t n = key.size();
  uint64_t h = n;
  for (; n > 16; n -= 8, p += 8) h = fold(h ^ load<uint64_t>(p), kSeedB);
  const Ends e = ends(p, n);
  return fold(e.first ^ kSeedA, e.last ^ (h * kSeedB));
}

StringIndex::StringIndex(size_t count) : tags_(std::bit_ceil(2 * count + 2)), slots_(tags_.size()) {}

size_t StringIndex::slot_of(std::string_view key, uint64_t hash) const {
  const size_t mask = tags_.size() - 1;
  const uint8_t tag = tag_of(hash);
  size_t at = hash & mask;
  for (; tags_[at] != 0; at = (at + 1) & mask) {
    if (tags_[at] == tag && equal(key, slots_[at].data, slots_[at].length)) break;
  }
  return at;
}

bool StringIndex::insert(std::string_view key, int32_t value) {
  const uint64_t hash = hash_of(key);
  const size_t at = slot_of(key, hash);
  const bool fresh = tags_[at] == 0;
  tags_[at] = tag_of(hash);
  slots_[at] = {key.data(), static_cast<uint32_t>(key.size()), value};
  longest_ = std::max(longest_, key.size());
  return fresh;
}

int32_t StringIndex::find(std::string_view key) const { return slots_[slot_of(key, hash_of(key))].value; }

}  // namespace tenon::text
