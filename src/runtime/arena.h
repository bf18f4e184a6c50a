// Memory of intermediate values: live ranges are coloured once per size class, and the result is kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/driver.h"

namespace tenon::runtime {

inline constexpr size_t kArenaAlignment = 256;  // what TMA and wide loads want, and no less than a cache line

enum class Memory { kHost, kPageLocked, kDevice };

// Memory that only ever grows; contents are lost when it does. Addresses of device memory are not to be read through.
class Buffer {
 public:
  explicit Buffer(Memory kind = Memory::kHost, const cuda::Device* device = nullptr) : kind_(kind), device_(device) {}
  ~Buffer() { release(); }
  Buffer(Buffer&& o) noexcept
      : kind_(o.kind_), device_(o.device_), data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)), generation_(o.generation_) {}
  Buffer& operator=(Buffer&&) = delete;

  // Errors: out-of-memory, also when `bytes` is more than `limit`.
  Status reserve(size_t bytes, size_t limit);
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  // Another number after each allocation: a recorded graph must not outlive the memory that it was recorded with, even if new
  // memory lies at the same address.
  int64_t generation() const { return generation_; }

 private:
  void release();
  Status allocate(size_t bytes);

  Memory kind_;
  const cuda::Device* device_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  int64_t generation_ = 0;
};

// Something that needs memory during the steps [first, last].
struct ArenaItem {
  int first = 0, last = 0;
};

// Where each item lies when items have these sizes.
struct Layout {
  std::vector<size_t> sizes, offsets;  // bytes
  size_t total = 0;
  int64_t id = 0;  // no two layouts of an arena have the same
};

// Items whose ranges overlap get disjoint memory: greedily, the largest first, each at the lowest offset that is free.
Layout color(std::span<const ArenaItem> items, std::span<const size_t> sizes);

class Arena {
 public:
  explicit Arena(std::vector<ArenaItem> items, Memory kind = Memory::kHost, const cuda::Device* device = nullptr)
      : items_(std::move(items)), memory_(kind, device) {}

  std::span<const ArenaItem> items() const { return items_; }
  // The smallest layout kept so far in which every item has at least `sizes`; null: none. Does not allocate.
  const Layout* find(std::span<const size_t> sizes);
  // Colours for `sizes` and keeps the result, in place of the one unused for longest when there are many.
  // Errors: out-of-memory, also when more than `limit` bytes are needed.
  Result<const Layout*> add(std::span<const size_t> sizes, size_t limit);
  std::byte* data() const { return memory_.data(); }
  size_t bytes() const { return memory_.size(); }
  int64_t generation() const { return memory_.generation(); }

 private:
  static constexpr size_t kMaxLayouts = 16;
  struct Kept {
    std::unique_ptr<Layout> layout;
    uint64_t used = 0;  // when it was found last
  };
  std::vector<ArenaItem> items_;
  std::vector<Kept> kept_;
  uint64_t clock_ = 0;
  int64_t next_id_ = 0;
  Buffer memory_;
};

}  // namespace tenon::runtime
