#include "plan/timing_cache.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/write_file.h"

namespace tenon::plan {
namespace {

TimingKey key(const std::string& problem, int64_t rows) { return {"cuda.linear", 1, "GPU", problem, rows}; }

TimingCache two_entries() {
  TimingCache cache;
  cache.put(key("b", 64), {"fast", {{"fast", 1.5, 0.01}, {"slow", 2.25, 0.5}, {"broken", 0, 0}}, "c0de", 13});
  cache.put(key("a \"quoted\"\n", 128), {"only", {}, "", 0});
  return cache;
}

TEST(TimingCache, ReadsWhatItWrote) {
  const TimingCache cache = two_entries();
  int skipped = -1;
  const TimingCache again = TimingCache::parse(cache.text(), &skipped);
  EXPECT_EQ(skipped, 0);
  ASSERT_EQ(again.entries().size(), 2u);
  const TimingEntry* entry = again.find(key("b", 64));
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->config, "fast");
  EXPECT_EQ(entry->code, "c0de");
  EXPECT_EQ(entry->driver, 13);
  ASSERT_EQ(entry->timings.size(), 3u);
  EXPECT_EQ(entry->find("slow")->us, 2.25);
  EXPECT_EQ(entry->find("slow")->spread, 0.5);
  EXPECT_EQ(entry->find("absent"), nullptr);
  EXPECT_EQ(again.find(key("b", 65)), nullptr);
  EXPECT_EQ(again.text(), cache.text());
}

TEST(TimingCache, LinesAreSortedByKeyWhateverTheOrderOfInsertion) {
  TimingCache forward, backward;
  for (int64_t rows = 1; rows <= 20; ++rows) forward.put(key("p", rows), {"c", {}, "", 0});
  for (int64_t rows = 20; rows >= 1; --rows) backward.put(key("p", rows), {"c", {}, "", 0});
  EXPECT_EQ(forward.text(), backward.text());
}

TEST(TimingCache, MergedInTheLaterOneWins) {
  TimingCache cache = two_entries(), other;
  other.put(key("b", 64), {"faster", {}, "", 0});
  other.put(key("c", 1), {"new", {}, "", 0});
  cache.merge(other);
  EXPECT_EQ(cache.entries().size(), 3u);
  EXPECT_EQ(cache.find(key("b", 64))->config, "faster");
  // Joined files mean the same.
  EXPECT_EQ(TimingCache::parse(two_entries().text() + other.text()).text(), cache.text());
}

TEST(TimingCache, HostileLinesAreSkippedAndTheOthersRead) {
  const std::string good = two_entries().text();
  const std::string bad[] = {
      "null",
      "[]",
      "{}",
      "not json",
      "{\"kernel\":1}",
      good.substr(0, good.size() / 2 - 3),
      std::string(100000, '['),
      R"({"kernel":"k","version":1,"device":"d","problem":"p","rows":-1,"config":"c"})",
      R"({"kernel":"k","version":1,"device":"d","problem":"p","rows":1.5,"config":"c"})",
      R"({"kernel":"k","version":1e99,"device":"d","problem":"p","rows":1,"config":"c"})",
      R"({"kernel":"k","version":1,"device":"d","problem":"p","rows":1,"config":["c"]})",
      R"({"kernel":"k","version":1,"device":"d","problem":"p","rows":1,"config":"c","timings":{"a":1}})",
      R"({"kernel":"k","version":1,"device":"d","problem":"p","rows":1,"config":"c","timings":[["a",1]]})",
      R"({"kernel":"k","version":1,"device":"d","problem":"p","rows":1,"config":"c","timings":[["a",-1,0]]})",
      R"({"kernel":"k","version":1,"device":"d","problem":"p","rows":1,"config":"c","timings":[[1,1,0]]})",
      std::string("\xff\xfe\0\x01", 4),
  };
  for (const std::string& line : bad) {
    int skipped = 0;
    const TimingCache cache = TimingCache::parse(line + "\n" + two_entries().text(), &skipped);
    EXPECT_GE(skipped, 1) << line.substr(0, 200);
    EXPECT_EQ(cache.entries().size(), 2u) << line.substr(0, 200);
  }
}

TEST(TimingCache, AnyTruncationIsReadWithoutFault) {
  const std::string text = two_entries().text();
  for (size_t n = 0; n < text.size(); ++n) EXPECT_LE(TimingCache::parse(text.substr(0, n)).entries().size(), 2u);
}

TEST(TimingCache, FilesAreReplacedAndAbsentOnesAreEmpty) {
  const std::string path = testing::TempDir() + "/timings.jsonl";
  std::filesystem::remove(path);
  EXPECT_TRUE(TimingCache::load(path)->entries().empty());
  ASSERT_TRUE(two_entries().save(path).ok());
  EXPECT_EQ(TimingCache::load(path)->text(), two_entries().text());
  ASSERT_TRUE(write_file(path, "garbage\n").ok());
  EXPECT_TRUE(TimingCache::load(path)->entries().empty());
  EXPECT_FALSE(two_entries().save(testing::TempDir() + "/no/such/folder/timings.jsonl").ok());
  std::filesystem::remove(path);
}

TEST(TimingCache, TheShippedTableIsWhole) {
  for (const auto& [k, entry] : shipped_timings().entries()) {
    EXPECT_TRUE(entry.code.empty()) << k.problem << ": advice must not depend on the code";
    EXPECT_FALSE(entry.config.empty());
    EXPECT_GT(k.rows, 0);
  }
}

}  // namespace
}  // namespace tenon::plan
