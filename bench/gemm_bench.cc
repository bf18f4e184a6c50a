// Speed of the packed product on the shapes of BERT-base's encoder, beside the processor's peak measured in the same run.
//
//   gemm_bench [threads] [isa]
//
// Twelve layers of random weights, so that they stream from memory as in a model; rates are of the best round over all
// layers (other processes only ever add time), the last column is the median. "%" is of the best rate of fused multiply-adds
// on registers seen in the run, on as many threads.
#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cpu/gemm.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using namespace tenon;
using namespace tenon::kernels::cpu;

// Seconds. With one thread the time that this thread ran, which other processes disturb less; else wall time.
double now(const ThreadPool& pool) {
  timespec t{};
  clock_gettime(pool.threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Floating-point operations done by independent multiply-adds on registers.
#if defined(__x86_64__)
__attribute__((target("avx512f"))) double multiply_add_avx512(int64_t times) {
  __m512 x[16];
  for (auto& v : x) v = _mm512_set1_ps(1.0f);
  const __m512 m = _mm512_set1_ps(0.999f);
  for (int64_t i = 0; i < times; ++i) {
#pragma GCC unroll 16
    for (auto& v : x) asm volatile("vfmadd231ps %1, %1, %0" : "+v"(v) : "v"(m));
  }
  float sum = 0;
  for (auto& v : x) sum += _mm512_cvtss_f32(v);
  asm volatile("" : : "x"(sum));
  return 16.0 * 16 * 2 * static_cast<double>(times);
}
__attribute__((target("avx2,fma"))) double multiply_add_avx2(int64_t times) {
  __m256 x[12];
  for (auto& v : x) v = _mm256_set1_ps(1.0f);
  const __m256 m = _mm256_set1_ps(0.999f);
  for (int64_t i = 0; i < times; ++i) {
#pragma GCC unroll 12
    for (auto& v : x) asm volatile("vfmadd231ps %1, %1, %0" : "+x"(v) : "x"(m));
  }
  float sum = 0;
  for (auto& v : x) sum += _mm256_cvtss_f32(v);
  asm volatile("" : : "x"(sum));
  return 12.0 * 8 * 2 * static_cast<double>(times);
}
#endif

double multiply_add(Isa isa, int64_t times) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return multiply_add_avx512(times);
  if (isa == Isa::kAvx2) return multiply_add_avx2(times);
#endif
  return 0;
}

double peak_gflops(Isa isa, ThreadPool& pool) {
  constexpr int64_t kTimes = 1'000'000;
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const double start = now(pool);
    pool.parallel_for(pool.threads(), [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) multiply_add(isa, kTimes);
    });
    const double flops = multiply_add(isa, 0) + multiply_add(isa, 1) * static_cast<double>(kTimes) * pool.threads();
    best = std::max(best, flops / (now(pool) - start) * 1e-9);
  }
  return best;
}

struct Shape {
  const char* name;
  int64_t k, n;
  Activation activation;
};
constexpr Shape kShapes[] = {{"qkv", 768, 2304, Activation::kNone},
                             {"out", 768, 768, Activation::kNone},
                             {"ffn1", 768, 3072, Activation::kGelu},
                             {"ffn2", 3072, 768, Activation::kNone}};
constexpr int kLayers = 12;

struct Aligned {
  explicit Aligned(int64_t floats) : data(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>((floats + 15) / 16 * 64)))) {}
  ~Aligned() { std::free(data); }
  Aligned(Aligned&& o) noexcept : data(std::exchange(o.data, nullptr)) {}
  float* data;
};

Aligned random_floats(int64_t count, std::mt19937& generator) {
  Aligned a(count);
  std::normal_distribution<float> normal(0.0f, 0.5f);
  for (int64_t i = 0; i < count; ++i) a.data[i] = i < 65536 ? normal(generator) : a.data[i - 65536] * 1.0001f;
  return a;
}

}  // namespace

int main(int argc, char** argv) {
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  Isa isa = available_isas().front();
  for (Isa i : available_isas())
    if (argc > 2 && isa_name(i) == argv[2]) isa = i;
  const VectorCode& code = vector_code(isa);
  std::mt19937 generator(std::random_device{}());
  std::vector<std::vector<Aligned>> weights;
  for (int layer = 0; layer < kLayers; ++layer) {
    auto& w = weights.emplace_back();
    for (const Shape& s : kShapes) w.push_back(random_floats(packed_size(s.k, s.n), generator));
  }
  double peak = peak_gflops(isa, pool);
  fmt::print("isa {}, {} threads, peak {:.0f} GFLOP/s\n{:>6}", isa_name(isa), pool.threads(), peak, "T");
  for (const Shape& s : kShapes) fmt::print("{:>18}", s.name);
  fmt::print("{:>26}\n", "all 12 layers");
  for (const int64_t t : {1, 8, 16, 32, 128, 384, 1024}) {
    const Aligned x = random_floats(t * 3072, generator), residual = random_floats(t * 3072, generator), y(t * 3072);
    const Aligned bias = random_floats(3072, generator);
    const Aligned workspace(static_cast<int64_t>(gemm_workspace(t, 3072, pool.threads()) / sizeof(float)));
    const int rounds = t > 300 ? 5 : t > 30 ? 15 : 31;
    std::vector<std::vector<double>> times(std::size(kShapes) + 1);
    for (int round = 0; round < rounds; ++round) {
      std::vector<double> spent(std::size(kShapes) + 1);
      for (int layer = 0; layer < kLayers; ++layer) {
        for (size_t s = 0; s < std::size(kShapes); ++s) {
          const Shape& shape = kShapes[s];
          const double start = now(pool);
          gemm(code,
               {.x = x.data, .x_stride = shape.k, .w = weights[static_cast<size_t>(layer)][s].data, .y = y.data, .y_stride = shape.n,
                .rows = t, .k = shape.k, .columns = shape.n,
                .epilogue = {.bias = bias.data, .residual = shape.n == 768 ? residual.data : nullptr, .residual_stride = shape.n,
                             .activation = shape.activation}},
               workspace.data, &pool);
          spent[s] += (now(pool) - start);
          spent.back() += (now(pool) - start);
        }
      }
      for (size_t s = 0; s < spent.size(); ++s) times[s].push_back(spent[s]);
    }
    peak = std::max(peak, peak_gflops(isa, pool));
    double total = 0;
    fmt::print("{:>6}", t);
    for (size_t s = 0; s < times.size(); ++s) {
      std::sort(times[s].begin(), times[s].end());
      const double least = times[s].front(), median = times[s][static_cast<size_t>(rounds / 2)];
      const bool last = s == std::size(kShapes);
      const double flops = last ? total : 2.0 * kLayers * static_cast<double>(t * kShapes[s].k * kShapes[s].n);
      total += flops;
      fmt::print("{:>9.1f} ({:>5.1f}%)", flops / least * 1e-9, flops / least * 1e-7 / peak);
      if (last) fmt::print("{:>8.2f} ms", median * 1e3);
    }
    fmt::print("\n");
  }
}
