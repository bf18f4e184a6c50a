// Speed of the packed product on the shapes of BERT-base's encoder, in turns with the processor's peak.
//
//   gemm_bench [threads] [isa] [f32, bf16, int8 or int8_quads] [peak | rows[,rows ...]] [blocking]
//
// With "peak" that is all it measures. Else, for each number of rows: twelve layers of random weights, so that they
// stream from memory as in a model, and before and after each product a slice of multiply-adds on registers, as long and
// on as many threads. "%" is the product's rate of the mean of the two: whatever a neighbour takes of the cores, it takes
// from both. Rates (1e9 operations a second) and "%" are medians over all layers and rounds, brackets hold the middle half.
// A blocking reads as in configs: rows=64,depth=384,split=rows (src/kernels/cpu/blocking.h). int8 and int8_quads (for processors
// without VNNI: ops/quantize.h) include rounding x from f32; in bf16 all matrices are bf16.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench/floats.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/narrow_gemm.h"
#include "tools/peak.h"

namespace {

using namespace tenon;
using namespace tenon::kernels::cpu;
using bench::Floats;
using tools::measured_peak;
using tools::peak_now;
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

Floats random_floats(int64_t count, std::mt19937& generator) {
  Floats a(static_cast<size_t>(count));
  float* x = a.get();
  std::normal_distribution<float> normal(0.0f, 0.5f);
  for (int64_t i = 0; i < count; ++i) x[i] = i < 65536 ? normal(generator) : x[i - 65536] * 1.0001f;
  return a;
}

// Rates of one shape beside the peak.
struct Samples {
  std::vector<double> rates, shares;

  void add(double rate, double peak) {
    rates.push_back(rate);
    shares.push_back(100 * rate / peak);
  }
  void print() {
    std::sort(rates.begin(), rates.end());
    std::sort(shares.begin(), shares.end());
    const size_t n = shares.size();
    fmt::print("{:>8.0f} {:>5.1f}% [{:>3.0f},{:>4.0f}]", rates[n / 2], shares[n / 2], shares[n / 4], shares[n * 3 / 4]);
  }
};

std::vector<int64_t> numbers(const std::string& list) {
  std::vector<int64_t> found;
  for (size_t at = 0; at < list.size(); at = std::min(list.size(), list.find(',', at)) + 1)
    found.push_back(std::max(1, std::atoi(list.c_str() + at)));
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  Isa isa = available_isas().front();
  for (Isa i : available_isas())
    if (argc > 2 && isa_name(i) == argv[2]) isa = i;
  const std::string type = argc > 3 ? argv[3] : "f32";
  const VectorCode& code = vector_code(isa);
  const Factors factors = type == "int8" ? Factors::kInt8 : type == "int8_quads" ? Factors::kInt8Quads : Factors::kBf16;
  const bool widens = type == "bf16" && code.bf16.tile == nullptr, narrow = type != "f32" && !widens;
  const Blocking blocking = Blocking::parse(argc > 5 ? argv[5] : "auto").value_or(Blocking{});
  const std::string what = argc > 4 ? argv[4] : "1,8,16,32,128,384,1024";
  if (what == "peak") {
    fmt::print("{}, {}, {} threads, peak {:.0f} G/s\n", type, isa_name(isa), pool.threads(),
               measured_peak(isa, type, pool));
    return 0;
  }
  std::mt19937 generator(std::random_device{}());
  std::vector<std::vector<Floats>> weights;
  for (int layer = 0; layer < kLayers; ++layer) {
    auto& w = weights.emplace_back();
    for (const Shape& s : kShapes) {
      w.push_back(random_floats(packed_size(s.k, s.n), generator));
      if (type == "f32") continue;
      const Floats wide = std::move(w.back());
      w.back() = Floats(static_cast<size_t>((packed_bytes(factors, s.k, s.n) + 3) / 4));
      pack_narrow(factors, wide.get(), s.k, s.n, reinterpret_cast<std::byte*>(w.back().get()));
    }
  }
  const double peak = measured_peak(isa, type, pool);
  fmt::print("{}, {}, {} threads, peak {:.0f} G/s\n{:>6}", type, isa_name(isa), pool.threads(), peak, "T");
  for (const Shape& s : kShapes) fmt::print("{:>26}", s.name);
  fmt::print("{:>38}\n", "all 12 layers");
  for (const int64_t t : numbers(what)) {
    const bool bf16 = narrow && factors == Factors::kBf16;  // of x, bias, residual and y
    const auto make = [&](int64_t count) {
      Floats wide = random_floats(count, generator);
      if (!bf16) return wide;
      Floats halves(static_cast<size_t>(count));
      code.round(wide.get(), count, reinterpret_cast<uint16_t*>(halves.get()));
      return halves;
    };
    const Floats x = make(t * 3072), residual = make(t * 3072), bias = make(3072), y(static_cast<size_t>(t * 3072));
    size_t bytes = 0;
    for (const Shape& s : kShapes)
      bytes = std::max(bytes, narrow ? narrow_gemm_workspace(code, factors, bf16, t, s.k, pool.threads())
                                     : gemm_workspace(code, t, s.k, pool.threads(), widens, blocking));
    const Floats workspace(bytes / sizeof(float));
    const auto multiply = [&](const Shape& shape, const float* w) {
      const Epilogue epilogue{.bias = bias.get(),
                              .residual = shape.n == 768 ? residual.get() : nullptr,
                              .residual_stride = shape.n,
                              .activation = shape.activation,
                              .bf16 = bf16};
      if (narrow) {
        narrow_gemm(code,
                    {.factors = factors,
                     .x = x.get(),
                     .w = reinterpret_cast<const std::byte*>(w),
                     .y = y.get(),
                     .rows = t,
                     .k = shape.k,
                     .columns = shape.n,
                     .epilogue = epilogue,
                     .blocking = blocking},
                    workspace.get(), &pool);
      } else {
        gemm(code,
             {.x = x.get(),
              .x_stride = shape.k,
              .w = w,
              .w_is_bf16 = widens,
              .y = y.get(),
              .y_stride = shape.n,
              .rows = t,
              .k = shape.k,
              .columns = shape.n,
              .epilogue = epilogue,
              .blocking = blocking},
             workspace.get(), &pool);
      }
    };
    const auto work_of = [t](const Shape& s) { return 2e-9 * static_cast<double>(t * s.k * s.n); };  // 1e9 operations
    double of_layer = 0;
    for (const Shape& s : kShapes) of_layer += work_of(s);
    const double slice = 1e9 * std::clamp(of_layer / std::size(kShapes), 1e-4 * peak, 3e-3 * peak);  // operations
    const int rounds = t > 300 ? 5 : t > 30 ? 15 : 31;
    std::array<Samples, std::size(kShapes)> samples;
    Samples layers;
    std::vector<double> totals;  // seconds of all layers
    for (int round = 0; round < rounds; ++round) {
      double spent = 0, least = 0;  // seconds, as measured and at the peak
      double before = peak_now(isa, type, pool, slice);
      for (const auto& layer : weights) {
        for (size_t s = 0; s < std::size(kShapes); ++s) {
          const double start = pool_seconds(pool);
          multiply(kShapes[s], layer[s].get());
          const double seconds = pool_seconds(pool) - start, work = work_of(kShapes[s]);
          const double after = peak_now(isa, type, pool, slice), beside = (before + after) / 2;
          samples[s].add(work / seconds, beside);
          spent += seconds;
          least += work / beside;
          before = after;
        }
      }
      layers.add(of_layer * kLayers / spent, of_layer * kLayers / least);
      totals.push_back(spent);
    }
    fmt::print("{:>6}", t);
    for (Samples& s : samples) s.print();
    layers.print();
    std::sort(totals.begin(), totals.end());
    fmt::print("{:>9.2f} ms\n", totals[totals.size() / 2] * 1e3);
  }
}
