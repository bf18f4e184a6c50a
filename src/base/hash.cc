#include "base/hash.h"

#include <fmt/core.h>

#include <bit>
#include <cstring>

namespace tenon {
namespace {

constexpr uint64_t kMultiply = 0x9e3779b97f4a7c15ull;

uint64_t load(const std::byte* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

uint64_t mix(uint64_t h, uint64_t v) { return std::rotl(h ^ (v * kMultiply), 29) * 0xbf58476d1ce4e5b9ull; }

}  // namespace

uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed) {
  const std::byte* p = bytes.data();
  size_t left = bytes.size();
  uint64_t lane[8];
  for (uint64_t i = 0; i < 8; ++i) lane[i] = mix(seed, i + 1);
  for (; left >= 64; left -= 64, p += 64)
    for (size_t i = 0; i < 8; ++i) lane[i] = mix(lane[i], load(p + 8 * i));
  uint64_t h = bytes.size();
  for (uint64_t l : lane) h = mix(h, l);
  for (; left > 0; --left, ++p) h = mix(h, static_cast<uint64_t>(*p) + 1);
  h ^= h >> 31;
  return h * kMultiply;
}

std::string content_name(std::string_view text) {
  const std::span bytes(reinterpret_cast<const std::byte*>(text.data()), text.size());
  return fmt::format("{:016x}{:016x}", checksum(bytes, 1), checksum(bytes, 2));
}

}  // namespace tenon
