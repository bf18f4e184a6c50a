#include "tools/limits.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/cpu/isa.h"
#include "tools/peak.h"
#include "tools/report.h"

namespace tenon::tools {
namespace {

constexpr size_t kMemoryBytes = size_t{192} << 20;  // more than most caches hold
constexpr size_t kCacheBytes = size_t{512} << 10;   // of each thread: what its second-level cache holds
constexpr int kRounds = 4;

// Eight sums of vectors that every processor has, so that nothing waits for one.
using Vector = uint64_t __attribute__((vector_size(16)));
uint64_t sum_of(const uint64_t* data, size_t count) {
  constexpr size_t kSums = 8, kStep = kSums * sizeof(Vector) / sizeof(uint64_t);
  Vector sums[kSums] = {};
  for (size_t i = 0; i + kStep <= count; i += kStep)
    for (size_t j = 0; j < kSums; ++j) sums[j] += *reinterpret_cast<const Vector*>(data + i + 2 * j);
  Vector all = {};
  for (const Vector& s : sums) all += s;
  return all[0] + all[1];
}

// Bytes a second when each thread reads its part of `bytes` so many times; the best of some rounds.
double read_rate(ThreadPool& pool, const std::vector<uint64_t>& data, size_t bytes, int times) {
  const auto threads = static_cast<size_t>(pool.threads());
  const size_t part = bytes / sizeof(uint64_t) / threads / 16 * 16;  // whole vectors
  std::vector<uint64_t> sums(threads * 8);                           // in lines of their own
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const double start = seconds_now();
    pool.parallel_for(pool.threads(), [&](int64_t begin, int64_t end, int) {
      for (auto t = static_cast<size_t>(begin); t < static_cast<size_t>(end); ++t)
        for (int i = 0; i < times; ++i) {
          sums[t * 8] += sum_of(data.data() + t * part, part);
          asm volatile("" ::: "memory");  // the next time is as much work
        }
    });
    best = std::max(best, static_cast<double>(part * sizeof(uint64_t) * threads) * times / (seconds_now() - start));
  }
  return best;
}

}  // namespace

Limits measure_cpu(ThreadPool& pool) {
  const kernels::cpu::Isa isa = kernels::cpu::chosen_isa();
  Limits limits;
  limits.device = kernels::cpu::processor_name() + ", " + std::to_string(pool.threads()) + " threads";
  limits.f32 = 1e9 * measured_peak(isa, "f32", pool);
  limits.bf16 = 1e9 * measured_peak(isa, "bf16", pool);
  limits.int8 = 1e9 * measured_peak(isa, kernels::cpu::lacks_vnni(isa) ? "int8_quads" : "int8", pool);
  const auto threads = static_cast<size_t>(pool.threads());
  const std::vector<uint64_t> data(std::max(kMemoryBytes, kCacheBytes * threads) / sizeof(uint64_t), 1);
  limits.memory = read_rate(pool, data, kMemoryBytes, 1);
  limits.cache = read_rate(pool, data, kCacheBytes * threads, 50);
  limits.held = static_cast<double>(std::max<int64_t>(0, sysconf(_SC_LEVEL3_CACHE_SIZE))) / 2;
  return limits;
}

}  // namespace tenon::tools
