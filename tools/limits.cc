#include "tools/limits.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/cpu/isa.h"
#include "runtime/gpu.h"
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

// Multiply-adds of a multiprocessor in a clock; of 16 bits summed in f32.
struct PerClock {
  int capability;
  double f32, tf32, f16;
};
constexpr PerClock kPerClock[] = {
    {80, 64, 512, 1024}, {86, 128, 256, 512}, {89, 128, 256, 512}, {90, 128, 1024, 2048}, {100, 128, 2048, 4096}};

// Bytes a second, read and written together, when so many are copied within the GPU's memory again and again; 0: it has
// no room for them.
double copy_rate(runtime::GpuQueue& queue, size_t bytes) {
  const cuda::Driver& api = queue.device().api();
  cuda::DevicePtr from = 0, to = 0;
  const size_t times = std::max<size_t>(1, kMemoryBytes / bytes);
  double best = 0;
  if (api.cuMemAlloc(&from, bytes) == 0 && api.cuMemAlloc(&to, bytes) == 0) {
    const auto copies = [&]() -> Status {
      for (size_t i = 0; i < times; ++i)
        TENON_TRY(queue.copy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes));
      return {};
    };
    for (int round = 0; round < kRounds; ++round) {
      const auto seconds = queue.time_short(copies);
      if (seconds.ok() && *seconds > 0) best = std::max(best, 2 * static_cast<double>(bytes * times) / *seconds);
    }
  }
  if (from != 0) api.cuMemFree(from);
  if (to != 0) api.cuMemFree(to);
  return best;
}

}  // namespace

Limits measure_gpu(const cuda::Device& device) {
  Limits limits;
  limits.device = device.name();
  const double clocks = 1e3 * device.attribute(cuda::DeviceAttribute::kClockRate) * device.multiprocessors();
  for (const PerClock& rates : kPerClock) {
    if (rates.capability != device.compute_capability()) continue;
    limits.tf32 = 2 * clocks * rates.tf32;
    limits.f32 = std::max(2 * clocks * rates.f32, limits.tf32 / 3);
    limits.bf16 = 2 * clocks * rates.f16;
  }
  limits.held = device.attribute(cuda::DeviceAttribute::kL2CacheSize) / 2.0;
  if (const auto queue = runtime::GpuQueue::create(device); queue.ok()) {
    limits.memory = copy_rate(**queue, kMemoryBytes);
    // Half of the cache: what is read and what is written.
    if (limits.held > 0) limits.cache = std::max(limits.memory, copy_rate(**queue, static_cast<size_t>(limits.held) / 2));
  }
  return limits;
}

Limits measure_cpu(ThreadPool& pool) {
  const kernels::cpu::Isa isa = kernels::cpu::chosen_isa();
  Limits limits;
  limits.device = kernels::cpu::processor_name() + ", " + std::to_string(pool.threads()) + " threads";
  limits.f32 = 1e9 * measured_peak(isa, "f32", pool);
  limits.tf32 = limits.f32;
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
