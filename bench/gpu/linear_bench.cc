// Speed of the linear kernels on the GPU at the shapes of BERT-base and BERT-large, f16 with bias.
//
//   linear_bench [all] [config=TEXT] [T ...]
//     all: prints every config instead of the best and the chosen one; TEXT: only configs with these letters in them
//
// Random data, eight weight matrices in turn, a CUDA graph of 32 dependent launches (as in a model: the next kernel
// starts while the one ahead ends), median of nine replays. "chosen" is what best_linear_config picks, beside the
// fastest. linear_peer.py times cuBLASLt at the same shapes.
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "bench/gpu/graph_timing.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/nvrtc.h"

namespace {

using namespace tenon;
using bench::require;
using kernels::Config;
using kernels::CudaKernel;
using kernels::Problem;

constexpr int kWeights = 8, kLaunches = 32;

Problem linear_problem(int64_t rows, int64_t k, int64_t n) {
  const auto type = [](std::initializer_list<int64_t> shape) { return ir::TensorType{DType::kF16, ir::to_shape(std::vector<int64_t>(shape))}; };
  Problem p;
  p.op = ir::Op::k_linear;
  p.attrs.set("activation", std::string());
  p.inputs = {type({rows, k}), type({k, n}), type({n})};
  p.present = {true, true, true};
  p.constant = {false, true, true};
  p.outputs = {type({rows, n})};
  return p;
}

// `count` random halves in [-scale, scale] on the device.
cuda::DevicePtr random_halves(const cuda::Device& device, size_t count, int exponent) {
  std::vector<uint16_t> host(count);
  uint64_t state = 0x9e3779b97f4a7c15;
  for (uint16_t& h : host) {
    state = state * 6364136223846793005 + 1442695040888963407;
    const auto bits = static_cast<unsigned>(state >> 40);
    h = static_cast<uint16_t>((bits & 0x83ff) | ((static_cast<unsigned>(exponent) - (bits >> 17 & 3)) << 10));
  }
  return bench::upload(device, host);
}

struct Candidate {
  const CudaKernel* kernel;
  Config config;
  std::string cubin;
  cuda::Function function = nullptr;
};

// All candidates of a shape, compiled by all cores.
std::vector<Candidate> compile_all(const cuda::Device& device, const Problem& problem, std::string_view filter) {
  std::vector<Candidate> list;
  for (const kernels::Kernel* kernel : {&kernels::cuda::linear_sm90_kernel(), &kernels::cuda::linear_sm80_kernel()}) {
    if (kernel->id() == "cuda.linear.sm90" && device.compute_capability() != 90) continue;
    for (const Config& config : kernel->configs(problem))
      if (fmt::format("{} {}", kernel->id(), config.text).find(filter) != std::string::npos) list.push_back({kernel->as_cuda(), config, {}});
  }
  std::atomic<size_t> next = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (size_t c = next++; c < list.size(); c = next++) {
        Candidate& one = list[c];
        const int capability = device.compute_capability();
        one.cubin = require(cuda::compile(*one.kernel->code(problem, one.config, capability), one.kernel->arch(one.config, capability))).code;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  for (Candidate& one : list) {
    const std::string entry = one.kernel->code(problem, one.config, device.compute_capability())->entry;
    one.function = bench::load_code(device, one.cubin, entry).function;
  }
  return list;
}

// Microseconds of one launch.
double time_launches(const cuda::Device& device, cuda::Stream stream, const Candidate& candidate, const Problem& problem,
                     int64_t rows, cuda::DevicePtr x, cuda::DevicePtr w, cuda::DevicePtr bias, cuda::DevicePtr y) {
  const int64_t k = problem.inputs[1].shape[0].value(), n = problem.inputs[1].shape[1].value();
  const auto launcher = require(candidate.kernel->load(problem, candidate.config, device, candidate.function));
  const std::vector<int64_t> x_shape = {rows, k}, w_shape = {k, n}, bias_shape = {n}, y_shape = {rows, n};
  const auto pointer = [](cuda::DevicePtr p) { return reinterpret_cast<void*>(p); };
  return bench::time_launches(device, stream, kLaunches, [&](int i) {
    const auto offset = static_cast<cuda::DevicePtr>(2 * k * n * (i % kWeights));
    const ops::TensorArg inputs[] = {{DType::kF16, x_shape, pointer(x)}, {DType::kF16, w_shape, pointer(w + offset)}, {DType::kF16, bias_shape, pointer(bias)}};
    const ops::TensorArg outputs[] = {{DType::kF16, y_shape, pointer(y)}};
    return launcher->launch({.inputs = inputs, .outputs = outputs, .sizes = {}, .stream = stream});
  });
}

}  // namespace

int main(int argc, char** argv) {
  bool all = false;
  std::string_view filter;
  std::vector<int64_t> row_counts;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "all") == 0) all = true;
    else if (std::strncmp(argv[i], "config=", 7) == 0) filter = argv[i] + 7;
    else row_counts.push_back(std::atoll(argv[i]));
  }
  if (row_counts.empty()) row_counts = {128, 384, 1024, 4224, 8448, 16896};
  const cuda::Device& device = *require(cuda::Device::open());
  require(device.use());
  cuda::Stream stream = nullptr;
  require(cuda::check(device.api().cuStreamCreate(&stream, 1), "creating a stream"));
  const int64_t shapes[][2] = {{2304, 768}, {768, 768}, {3072, 768}, {768, 3072}, {3072, 1024}, {1024, 1024}, {4096, 1024}, {1024, 4096}};
  const auto most = static_cast<size_t>(*std::max_element(row_counts.begin(), row_counts.end()));
  const cuda::DevicePtr x = random_halves(device, most * 4096, 15), w = random_halves(device, size_t{kWeights} * 4096 * 1024, 11);
  const cuda::DevicePtr bias = random_halves(device, 4096, 14), y = random_halves(device, most * 4096, 15);
  fmt::print("# {}, {} SMs\n# T N K us TFLOP/s config\n", device.name(), device.multiprocessors());
  for (const auto& [n, k] : shapes) {
    const Problem problem = linear_problem(4096, k, n);
    const std::vector<Candidate> candidates = compile_all(device, problem, filter);
    for (const int64_t rows : row_counts) {
      const std::string chosen = kernels::cuda::best_linear_config(problem, rows, device.multiprocessors());
      std::vector<std::pair<double, std::string>> times;
      for (const Candidate& c : candidates) {
        if (rows > 2048 && c.config.text.find("split") != std::string::npos) continue;
        const double us = time_launches(device, stream, c, problem, rows, x, w, bias, y);
        const bool is_chosen = c.config.text == chosen;
        times.emplace_back(us, fmt::format("{} {}{}", c.kernel->id(), c.config.text, is_chosen ? " chosen" : ""));
      }
      std::sort(times.begin(), times.end());
      for (size_t i = 0; i < times.size(); ++i) {
        const auto& [us, text] = times[i];
        if (!all && i > 0 && !text.ends_with("chosen")) continue;
        const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(n) * static_cast<double>(k);
        fmt::print("{} {} {} {:.2f} {:.0f} {}\n", rows, n, k, us, flops / us * 1e-6, text);
      }
      std::fflush(stdout);
    }
  }
}
