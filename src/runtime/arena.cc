#include "runtime/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <numeric>

namespace tenon::runtime {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t align(size_t n) { return (n + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

}  // namespace

void Buffer::release() {
  if (data_ == nullptr) return;
  switch (kind_) {
    case Memory::kHost:
      std::free(data_);
      break;
    case Memory::kPageLocked:
      if (device_->use().ok()) device_->api().cuMemFreeHost(data_);
      break;
    case Memory::kDevice:
      if (device_->use().ok()) device_->api().cuMemFree(reinterpret_cast<cuda::DevicePtr>(data_));
      break;
  }
  data_ = nullptr;
  size_ = 0;
}

Status Buffer::allocate(size_t bytes) {
  if (kind_ == Memory::kHost) {
    const size_t alignment = bytes < kHugePage ? kArenaAlignment : kHugePage;
    data_ = static_cast<std::byte*>(std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment));
    if (data_ == nullptr) return error(ErrorCode::kOutOfMemory, "cannot allocate {} bytes", bytes);
    // Advice only: rows of tensors stand on many pages, more than processors keep addresses of.
    if (bytes >= kHugePage) (void)::madvise(data_, bytes, MADV_HUGEPAGE);
    return {};
  }
  TENON_TRY(device_->use());
  if (kind_ == Memory::kPageLocked) {
    void* data = nullptr;
    TENON_TRY(cuda::check(device_->api().cuMemHostAlloc(&data, bytes, 0), "allocating page-locked memory"));
    data_ = static_cast<std::byte*>(data);
    return {};
  }
  cuda::DevicePtr data = 0;
  TENON_TRY(cuda::check(device_->api().cuMemAlloc(&data, bytes), "allocating the GPU's memory"));
  data_ = reinterpret_cast<std::byte*>(data);
  return {};
}

Status Buffer::reserve(size_t bytes, size_t limit) {
  if (bytes <= size_ && data_ != nullptr) return {};
  if (bytes > limit) return error(ErrorCode::kOutOfMemory, "these inputs need {} bytes of memory at once, the limit is {}", bytes, limit);
  bytes = std::max(align(bytes), kArenaAlignment);
  release();
  TENON_TRY(allocate(bytes));
  size_ = bytes;
  static std::atomic<int64_t> allocations{0};
  generation_ = ++allocations;
  return {};
}

Layout color(std::span<const ArenaItem> items, std::span<const size_t> sizes) {
  Layout layout;
  layout.sizes.assign(sizes.begin(), sizes.end());
  layout.offsets.assign(items.size(), 0);
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<size_t> placed;  // by rising offset
  for (size_t i : order) {
    size_t offset = 0;
    for (size_t other : placed) {
      const bool meets = items[i].first <= items[other].last && items[other].first <= items[i].last;
      if (!meets) continue;
      if (layout.offsets[other] >= offset + align(sizes[i])) break;
      offset = std::max(offset, layout.offsets[other] + align(sizes[other]));
    }
    layout.offsets[i] = offset;
    layout.total = std::max(layout.total, offset + align(sizes[i]));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i, [&](size_t a, size_t b) { return layout.offsets[a] < layout.offsets[b]; }), i);
  }
  return layout;
}

const Layout* Arena::find(std::span<const size_t> sizes) {
  Kept* best = nullptr;
  for (Kept& k : kept_) {
    if (best != nullptr && k.layout->total >= best->layout->total) continue;
    if (std::equal(sizes.begin(), sizes.end(), k.layout->sizes.begin(), [](size_t need, size_t have) { return need <= have; })) best = &k;
  }
  if (best == nullptr) return nullptr;
  best->used = ++clock_;
  return best->layout.get();
}

Result<const Layout*> Arena::add(std::span<const size_t> sizes, size_t limit) {
  auto layout = std::make_unique<Layout>(color(items_, sizes));
  layout->id = ++next_id_;
  TENON_TRY(memory_.reserve(layout->total, limit));
  if (kept_.size() == kMaxLayouts) {
    kept_.erase(std::min_element(kept_.begin(), kept_.end(), [](const Kept& a, const Kept& b) { return a.used < b.used; }));
  }
  kept_.push_back({std::move(layout), ++clock_});
  return kept_.back().layout.get();
}

}  // namespace tenon::runtime
