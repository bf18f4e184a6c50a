#include "engine/format.h"

#include <algorithm>

namespace tenon::engine {
namespace {

uint64_t combine(std::span<const uint64_t> chunks) { return checksum(std::as_bytes(chunks), chunks.size()); }

}  // namespace

uint64_t section_checksum(std::span<const std::byte> bytes, ThreadPool* pool) {
  std::vector<uint64_t> chunks((bytes.size() + kChunkBytes - 1) / kChunkBytes);
  const auto work = [&](int64_t begin, int64_t end, int) {
    for (size_t i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const size_t offset = i * kChunkBytes;
      chunks[i] = checksum(bytes.subspan(offset, std::min(kChunkBytes, bytes.size() - offset)));
    }
  };
  const auto count = static_cast<int64_t>(chunks.size());
  if (pool != nullptr) {
    pool->parallel_for(count, work);
  } else {
    work(0, count, 0);
  }
  return combine(chunks);
}

void SectionHasher::update(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (partial_.empty() && bytes.size() >= kChunkBytes) {
      chunks_.push_back(checksum(bytes.first(kChunkBytes)));
      bytes = bytes.subspan(kChunkBytes);
      continue;
    }
    const size_t n = std::min(kChunkBytes - partial_.size(), bytes.size());
    partial_.insert(partial_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
    bytes = bytes.subspan(n);
    if (partial_.size() < kChunkBytes) continue;
    chunks_.push_back(checksum(partial_));
    partial_.clear();
  }
}

uint64_t SectionHasher::finish() {
  if (!partial_.empty()) chunks_.push_back(checksum(partial_));
  partial_.clear();
  return combine(chunks_);
}

}  // namespace tenon::engine
