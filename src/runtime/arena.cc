#include "runtime/arena.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace tenon::runtime {
namespace {

size_t align(size_t n) { return (n + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

}  // namespace

Buffer::~Buffer() { std::free(data_); }

Status Buffer::reserve(size_t bytes, size_t limit) {
  if (bytes <= size_ && data_ != nullptr) return {};
  if (bytes > limit) return error(ErrorCode::kOutOfMemory, "these inputs need {} bytes of memory at once, the limit is {}", bytes, limit);
  bytes = std::max(align(bytes), kArenaAlignment);
  std::free(std::exchange(data_, nullptr));
  size_ = 0;
  data_ = static_cast<std::byte*>(std::aligned_alloc(kArenaAlignment, bytes));
  if (data_ == nullptr) return error(ErrorCode::kOutOfMemory, "cannot allocate {} bytes", bytes);
  size_ = bytes;
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
  TENON_TRY(memory_.reserve(layout->total, limit));
  if (kept_.size() == kMaxLayouts) {
    kept_.erase(std::min_element(kept_.begin(), kept_.end(), [](const Kept& a, const Kept& b) { return a.used < b.used; }));
  }
  kept_.push_back({std::move(layout), ++clock_});
  return kept_.back().layout.get();
}

}  // namespace tenon::runtime
