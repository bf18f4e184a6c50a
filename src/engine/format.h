// The engine file.
//
//   offset 0   Header (below), 192 bytes, little-endian
//   then       the sections, in this order, each at a multiple of 64 bytes:
//     tables     FlatBuffer `Tables` of engine.fbs: the plan, and what the engine says about itself
//     texts      FlatBuffer `Texts`: the graph as imported and as compiled, the decision log, origins of values
//     tokenizer  bytes of src/text; may be empty
//     weights    starts at a multiple of 4096 and is used in place through the mapping; each entry at a multiple of 64;
//                zeros between entries
//   The file ends with the weights' section. Gaps between sections are zeros.
//
// Every section has a checksum (section_checksum), the header has one over its own bytes before it. A reader refuses another
// major version; a newer minor version may add fields to tables, sections after the known ones never appear.
// The same plan, metadata and weights give the same bytes: nothing in the file depends on time, place or machine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/hash.h"
#include "base/thread_pool.h"

namespace tenon::engine {

// The first byte is no ASCII and the line ends catch transfers in text mode.
inline constexpr std::array<unsigned char, 8> kMagic = {0x89, 'T', 'E', 'N', 'O', 'N', '\r', '\n'};
inline constexpr uint16_t kFormatMajor = 1;
inline constexpr uint16_t kFormatMinor = 0;

inline constexpr uint64_t kSectionAlignment = 64;
inline constexpr uint64_t kWeightAlignment = 64;
inline constexpr uint64_t kPageAlignment = 4096;

enum class SectionKind : uint32_t { kTables = 1, kTexts, kTokenizer, kWeights };
inline constexpr size_t kSectionCount = 4;

struct Section {
  uint32_t kind = 0;
  uint32_t reserved = 0;
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t checksum = 0;
};

struct Header {
  std::array<unsigned char, 8> magic = kMagic;
  uint16_t major = kFormatMajor;
  uint16_t minor = kFormatMinor;
  uint32_t flags = 0;  // none defined
  uint64_t file_size = 0;
  uint32_t section_count = kSectionCount;
  uint32_t reserved = 0;
  std::array<Section, kSectionCount> sections;
  uint64_t unused[3] = {};
  uint64_t checksum = 0;  // over all bytes before it
};
static_assert(sizeof(Header) == 192);

inline uint64_t header_checksum(const Header& header) {
  return checksum(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, checksum)));
}

constexpr uint64_t align_up(uint64_t n, uint64_t alignment) { return (n + alignment - 1) / alignment * alignment; }

// The checksum of a section is the checksum of the checksums of its chunks, so it can be computed as a stream and in parallel.
inline constexpr size_t kChunkBytes = size_t{1} << 20;
uint64_t section_checksum(std::span<const std::byte> bytes, ThreadPool* pool);

// section_checksum of bytes that come in pieces.
class SectionHasher {
 public:
  void update(std::span<const std::byte> bytes);
  uint64_t finish();

 private:
  std::vector<std::byte> partial_;  // the chunk in progress
  std::vector<uint64_t> chunks_;
};

}  // namespace tenon::engine
