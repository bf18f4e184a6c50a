// Speed of the packed product on the shapes of BERT-base's encoder, beside the processor's peak measured in the same
// run.
//
//   gemm_bench [threads] [isa] [f32, bf16 or int8] [peak]
//
// With "peak" that is all it measures. Else:
// Twelve layers of random weights, so that they stream from memory as in a model; rates are of the best round over all
// layers (other processes only ever add time), the last column is the median. "%" is of the best rate of multiply-adds
// on registers seen in the run, on as many threads. int8 includes rounding x from f32; in bf16 all matrices are bf16.
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tools/peak.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/narrow_gemm.h"

namespace {

using namespace tenon;
using namespace tenon::kernels::cpu;
using tools::measured_peak;
using tools::pool_seconds;

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
  Aligned& operator=(Aligned&& o) noexcept {
    std::swap(data, o.data);
    return *this;
  }
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
  const std::string type = argc > 3 ? argv[3] : "f32";
  const VectorCode& code = vector_code(isa);
  const Factors factors = type == "int8" ? Factors::kInt8 : Factors::kBf16;
  const bool widens = type == "bf16" && code.bf16.tile == nullptr, narrow = type != "f32" && !widens;
  if (argc > 4) {
    fmt::print("{}, {}, {} threads, peak {:.0f} G/s\n", type, isa_name(isa), pool.threads(),
               measured_peak(isa, type, pool));
    return 0;
  }
  std::mt19937 generator(std::random_device{}());
  std::vector<std::vector<Aligned>> weights;
  for (int layer = 0; layer < kLayers; ++layer) {
    auto& w = weights.emplace_back();
    for (const Shape& s : kShapes) {
      w.push_back(random_floats(packed_size(s.k, s.n), generator));
      if (type == "f32") continue;
      const Aligned floats = std::move(w.back());
      w.back() = Aligned((packed_bytes(factors, s.k, s.n) + 3) / 4);
      pack_narrow(factors, floats.data, s.k, s.n, reinterpret_cast<std::byte*>(w.back().data));
    }
  }
  double peak = measured_peak(isa, type, pool);
  fmt::print("{}, {}, {} threads, peak {:.0f} G/s\n{:>6}", type, isa_name(isa), pool.threads(), peak, "T");
  for (const Shape& s : kShapes) fmt::print("{:>18}", s.name);
  fmt::print("{:>26}\n", "all 12 layers");
  for (const int64_t t : {1, 8, 16, 32, 128, 384, 1024}) {
    const bool bf16 = narrow && factors == Factors::kBf16;  // of x, bias, residual and y
    const auto make = [&](int64_t count) {
      Aligned floats = random_floats(count, generator);
      if (!bf16) return floats;
      Aligned halves(count);
      code.round(floats.data, count, reinterpret_cast<uint16_t*>(halves.data));
      return halves;
    };
    const Aligned x = make(t * 3072), residual = make(t * 3072), bias = make(3072), y(t * 3072);
    size_t bytes = 0;
    for (const Shape& s : kShapes)
      bytes = std::max(bytes, narrow ? narrow_gemm_workspace(code, factors, bf16, t, s.k, pool.threads())
                                     : gemm_workspace(code, t, s.k, pool.threads(), widens));
    const Aligned workspace(static_cast<int64_t>(bytes / sizeof(float)));
    const int rounds = t > 300 ? 5 : t > 30 ? 15 : 31;
    std::vector<std::vector<double>> times(std::size(kShapes) + 1);
    for (int round = 0; round < rounds; ++round) {
      std::vector<double> spent(std::size(kShapes) + 1);
      for (int layer = 0; layer < kLayers; ++layer) {
        for (size_t s = 0; s < std::size(kShapes); ++s) {
          const Shape& shape = kShapes[s];
          const double start = pool_seconds(pool);
          const float* w = weights[static_cast<size_t>(layer)][s].data;
          const Epilogue epilogue{.bias = bias.data,
                                  .residual = shape.n == 768 ? residual.data : nullptr,
                                  .residual_stride = shape.n,
                                  .activation = shape.activation,
                                  .bf16 = bf16};
          if (narrow) {
            narrow_gemm(code,
                        {.factors = factors,
                         .x = x.data,
                         .w = reinterpret_cast<const std::byte*>(w),
                         .y = y.data,
                         .rows = t,
                         .k = shape.k,
                         .columns = shape.n,
                         .epilogue = epilogue},
                        workspace.data, &pool);
          } else {
            gemm(code,
                 {.x = x.data,
                  .x_stride = shape.k,
                  .w = w,
                  .w_is_bf16 = widens,
                  .y = y.data,
                  .y_stride = shape.n,
                  .rows = t,
                  .k = shape.k,
                  .columns = shape.n,
                  .epilogue = epilogue},
                 workspace.data, &pool);
          }
          spent[s] += (pool_seconds(pool) - start);
          spent.back() += (pool_seconds(pool) - start);
        }
      }
      for (size_t s = 0; s < spent.size(); ++s) times[s].push_back(spent[s]);
    }
    peak = std::max(peak, measured_peak(isa, type, pool));
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
