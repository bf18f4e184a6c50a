// Speed of the packed product on the shapes of BERT-base's encoder, beside the processor's peak measured in the same
// run.
//
//   gemm_bench [threads] [isa]
//
// Twelve layers of random weights, so that they stream from memory as in a model; rates are of the best round over all
// layers (other processes only ever add time), the last column is the median. "%" is of the best rate of fused
// multiply-adds on registers seen in the run, on as many threads.
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

namespace {

using namespace tenon;
using namespace tenon::kernels::cpu;

// Seconds. With one thread the time that this thread ran, which other processes disturb less; else wall time.
double now(const ThreadPool& pool) {
  timespec t{};
  clock_gettime(pool.threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Runs twelve independent multiply-adds on registers `times` times; floating-point operations done.
double multiply_add(Isa isa, int64_t times) {
#if defined(__x86_64__)
  const auto flops = [&](int lanes) { return 2.0 * 12 * lanes * static_cast<double>(times); };
  if (isa == Isa::kAvx512) {
    for (int64_t i = 0; i < times; ++i) {
      asm volatile(
          "vfmadd231ps %%zmm0, %%zmm0, %%zmm4\n vfmadd231ps %%zmm0, %%zmm0, %%zmm5\n vfmadd231ps %%zmm0, %%zmm0, "
          "%%zmm6\n"
          "vfmadd231ps %%zmm0, %%zmm0, %%zmm7\n vfmadd231ps %%zmm0, %%zmm0, %%zmm8\n vfmadd231ps %%zmm0, %%zmm0, "
          "%%zmm9\n"
          "vfmadd231ps %%zmm0, %%zmm0, %%zmm10\n vfmadd231ps %%zmm0, %%zmm0, %%zmm11\n vfmadd231ps %%zmm0, %%zmm0, "
          "%%zmm12\n"
          "vfmadd231ps %%zmm0, %%zmm0, %%zmm13\n vfmadd231ps %%zmm0, %%zmm0, %%zmm14\n vfmadd231ps %%zmm0, %%zmm0, "
          "%%zmm15\n" ::
              : "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    }
    return flops(16);
  }
  if (isa == Isa::kAvx2) {
    for (int64_t i = 0; i < times; ++i) {
      asm volatile(
          "vfmadd231ps %%ymm0, %%ymm0, %%ymm4\n vfmadd231ps %%ymm0, %%ymm0, %%ymm5\n vfmadd231ps %%ymm0, %%ymm0, "
          "%%ymm6\n"
          "vfmadd231ps %%ymm0, %%ymm0, %%ymm7\n vfmadd231ps %%ymm0, %%ymm0, %%ymm8\n vfmadd231ps %%ymm0, %%ymm0, "
          "%%ymm9\n"
          "vfmadd231ps %%ymm0, %%ymm0, %%ymm10\n vfmadd231ps %%ymm0, %%ymm0, %%ymm11\n vfmadd231ps %%ymm0, %%ymm0, "
          "%%ymm12\n"
          "vfmadd231ps %%ymm0, %%ymm0, %%ymm13\n vfmadd231ps %%ymm0, %%ymm0, %%ymm14\n vfmadd231ps %%ymm0, %%ymm0, "
          "%%ymm15\n" ::
              : "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    }
    return flops(8);
  }
#endif
  (void)isa;
  (void)times;
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
    const double flops = multiply_add(isa, 1) * static_cast<double>(kTimes) * pool.threads();
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
  explicit Aligned(int64_t floats)
      : data(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>((floats + 15) / 16 * 64)))) {}
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
    const Aligned workspace(static_cast<int64_t>(gemm_workspace(code, t, 3072, pool.threads()) / sizeof(float)));
    const int rounds = t > 300 ? 5 : t > 30 ? 15 : 31;
    std::vector<std::vector<double>> times(std::size(kShapes) + 1);
    for (int round = 0; round < rounds; ++round) {
      std::vector<double> spent(std::size(kShapes) + 1);
      for (int layer = 0; layer < kLayers; ++layer) {
        for (size_t s = 0; s < std::size(kShapes); ++s) {
          const Shape& shape = kShapes[s];
          const double start = now(pool);
          gemm(code,
               {.x = x.data,
                .x_stride = shape.k,
                .w = weights[static_cast<size_t>(layer)][s].data,
                .y = y.data,
                .y_stride = shape.n,
                .rows = t,
                .k = shape.k,
                .columns = shape.n,
                .epilogue = {.bias = bias.data,
                             .residual = shape.n == 768 ? residual.data : nullptr,
                             .residual_stride = shape.n,
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
