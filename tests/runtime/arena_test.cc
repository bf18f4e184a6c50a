#include "runtime/arena.h"

#include <gtest/gtest.h>

#include "tests/support/random.h"

namespace tenon::test {
namespace {

using runtime::Arena;
using runtime::ArenaItem;
using runtime::Layout;

constexpr size_t kLimit = size_t{1} << 30;

TEST(Arena, ItemsThatLiveTogetherNeverOverlap) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 200; ++round) {
    std::vector<ArenaItem> items;
    std::vector<size_t> sizes;
    for (int64_t n = random.integer(0, 40); n > 0; --n) {
      const int first = static_cast<int>(random.integer(0, 30));
      items.push_back({first, first + static_cast<int>(random.integer(0, 8))});
      sizes.push_back(static_cast<size_t>(random.chance(0.1) ? 0 : random.integer(1, 5000)));
    }
    const Layout layout = runtime::color(items, sizes);
    for (size_t i = 0; i < items.size(); ++i) {
      EXPECT_EQ(layout.offsets[i] % runtime::kArenaAlignment, 0u);
      EXPECT_LE(layout.offsets[i] + sizes[i], layout.total);
      for (size_t j = 0; j < i; ++j) {
        const bool meets = items[i].first <= items[j].last && items[j].first <= items[i].last;
        const bool apart = layout.offsets[i] + sizes[i] <= layout.offsets[j] || layout.offsets[j] + sizes[j] <= layout.offsets[i];
        EXPECT_TRUE(!meets || apart) << i << " and " << j;
      }
    }
  }
}

TEST(Arena, AChainNeedsTwoOfItsItems) {
  std::vector<ArenaItem> chain;
  for (int i = 0; i < 20; ++i) chain.push_back({i, i + 1});
  EXPECT_EQ(runtime::color(chain, std::vector<size_t>(20, 1024)).total, 2048u);
}

TEST(Arena, ALargerLayoutServesSmallerSizes) {
  Arena arena({{0, 1}, {1, 2}});
  const std::vector<size_t> large = {1000, 500}, small = {900, 400}, other = {100, 501};
  EXPECT_EQ(arena.find(large), nullptr);
  const Layout* layout = *arena.add(large, kLimit);
  EXPECT_EQ(arena.find(small), layout);
  EXPECT_EQ(arena.find(other), nullptr);
}

TEST(Arena, TheLimitIsHeldTo) {
  Arena arena({{0, 0}});
  const std::vector<size_t> sizes = {1 << 20};
  const auto added = arena.add(sizes, 1 << 10);
  ASSERT_FALSE(added.ok());
  EXPECT_EQ(added.status().code(), ErrorCode::kOutOfMemory);
}

TEST(Arena, ManySizesKeepFewLayouts) {
  Arena arena({{0, 0}, {1, 1}});
  for (size_t i = 1; i < 100; ++i) {
    const std::vector<size_t> sizes = {i * 100, (100 - i) * 100};
    ASSERT_TRUE(arena.add(sizes, kLimit).ok());
    ASSERT_NE(arena.find(sizes), nullptr);
  }
}

}  // namespace
}  // namespace tenon::test
