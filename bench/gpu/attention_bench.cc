// Speed of the attention kernels on the GPU: f16, heads of 64, Q, K and V merged in one matrix of packed rows.
//
//   attention_bench [S…]             prints "S batch heads us TFLOP/s kernel config", S "mixed": random lengths 32 to
//                                    384; of these S only. list:FILE: the first 128 lengths of a file, one a line
//
// Random data, a CUDA graph of 32 dependent launches (as in a model: the next kernel starts while the one ahead ends),
// median of nine replays. attention_peer.py times PyTorch's scaled_dot_product_attention at the same shapes.
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
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

constexpr int kLaunches = 32;
constexpr int64_t kDim = 64, kTokens = 16384;

template <class T>
void* upload(const cuda::Device& device, const std::vector<T>& host) {
  return reinterpret_cast<void*>(bench::upload(device, host));
}

// Halves of magnitude 2^-2 to 2, either sign.
std::vector<uint16_t> random_halves(size_t count) {
  std::mt19937 engine(1);
  std::vector<uint16_t> values(count);
  for (uint16_t& v : values) {
    const auto bits = static_cast<unsigned>(engine());
    v = static_cast<uint16_t>((bits & 0x83ff) | ((15 - (bits >> 20 & 3) % 3) << 10));
  }
  return values;
}

// A batch on the device.
struct Batch {
  std::vector<int64_t> lengths;
  int64_t heads;
  std::vector<int64_t> rows_shape, offsets_shape, batch_shape, y_shape;
  void *qkv, *offsets, *begin, *end, *y;

  Batch(const cuda::Device& device, std::vector<int64_t> of_lengths, int64_t of_heads)
      : lengths(std::move(of_lengths)), heads(of_heads) {
    std::vector<int32_t> sums{0};
    for (const int64_t length : lengths) sums.push_back(sums.back() + static_cast<int32_t>(length));
    const int64_t width = heads * kDim, rows = sums.back(), batch = static_cast<int64_t>(lengths.size());
    rows_shape = {rows, 3 * width};
    y_shape = {rows, width};
    offsets_shape = {batch + 1};
    batch_shape = {batch};
    qkv = upload(device, random_halves(static_cast<size_t>(rows * 3 * width)));
    y = upload(device, std::vector<uint16_t>(static_cast<size_t>(rows * width)));
    offsets = upload(device, sums);
    begin = upload(device, std::vector<int32_t>(sums.begin(), sums.end() - 1));
    end = upload(device, std::vector<int32_t>(sums.begin() + 1, sums.end()));
  }

  void free(const cuda::Device& device) const {
    for (void* p : {qkv, offsets, begin, end, y}) device.api().cuMemFree(reinterpret_cast<cuda::DevicePtr>(p));
  }
  double flops() const {
    double pairs = 0;
    for (const int64_t length : lengths) pairs += static_cast<double>(length) * static_cast<double>(length);
    return 4.0 * pairs * static_cast<double>(heads * kDim);
  }
};

Problem problem_of(const Batch& batch) {
  const int64_t width = batch.heads * kDim;
  const ir::TensorType rows{DType::kF16, ir::to_shape(batch.rows_shape)},
      per_sequence{DType::kI32, ir::to_shape(batch.batch_shape)};
  Problem p;
  p.op = ir::Op::k_attention;
  p.attrs.set("heads", batch.heads);
  p.attrs.set("kv_heads", int64_t{0});
  p.attrs.set("head_dim", kDim);
  p.attrs.set("columns", std::vector<int64_t>{0, width, 2 * width});
  p.attrs.set("scale", 0.125);
  p.attrs.set("causal", int64_t{0});
  p.attrs.set("window", int64_t{0});
  p.inputs = {rows, rows, rows, {DType::kI32, ir::to_shape(batch.offsets_shape)}, per_sequence, per_sequence};
  p.present.assign(p.inputs.size(), true);
  p.constant.assign(p.inputs.size(), false);
  p.outputs = {{DType::kF16, ir::to_shape(batch.y_shape)}};
  return p;
}

// Microseconds of one launch.
double time_launches(const cuda::Device& device, cuda::Stream stream, const CudaKernel& kernel, const Config& config,
                     const Batch& batch) {
  const cuda::Driver& api = device.api();
  const Problem problem = problem_of(batch);
  const int capability = device.compute_capability();
  const kernels::DeviceSource source = *kernel.code(problem, config, capability);
  static std::map<std::vector<std::string>, std::string> compiled;  // by file and macros
  std::vector<std::string> key = source.defines;
  key.push_back(source.file);
  if (!compiled.contains(key)) compiled[key] = require(cuda::compile(source, kernel.arch(config, capability))).code;
  const bench::Loaded loaded = bench::load_code(device, compiled[key], source.entry);
  const auto launcher = require(kernel.load(problem, config, device, loaded.function));

  const ops::TensorArg qkv{DType::kF16, batch.rows_shape, batch.qkv};
  const ops::TensorArg inputs[] = {qkv,
                                   qkv,
                                   qkv,
                                   {DType::kI32, batch.offsets_shape, batch.offsets},
                                   {DType::kI32, batch.batch_shape, batch.begin},
                                   {DType::kI32, batch.batch_shape, batch.end}};
  const ops::TensorArg outputs[] = {{DType::kF16, batch.y_shape, batch.y}};
  const double us = bench::time_launches(device, stream, kLaunches, [&](int) {
    return launcher->launch({.inputs = inputs, .outputs = outputs, .sizes = {}, .stream = stream});
  });
  api.cuModuleUnload(loaded.module);
  return us;
}

void measure(const cuda::Device& device, cuda::Stream stream, const std::string& name,
           const std::vector<int64_t>& lengths, int64_t heads) {
  const Batch batch(device, lengths, heads);
  for (const kernels::Kernel* kernel :
       {&kernels::cuda::attention_sm90_kernel(), &kernels::cuda::attention_sm80_kernel()}) {
    if (kernel->id() == "cuda.attention.sm90" && device.compute_capability() != 90) continue;
    for (const Config& config : kernel->configs(problem_of(batch))) {
      const double us = time_launches(device, stream, *kernel->as_cuda(), config, batch);
      fmt::print("{} {} {} {:.2f} {:.0f} {} {}\n", name, lengths.size(), heads, us, batch.flops() / us * 1e-6,
                 kernel->id(), config.text);
      std::fflush(stdout);
    }
  }
  batch.free(device);
}

std::vector<int64_t> read_lengths(const std::string& path) {
  std::ifstream file(path);
  std::vector<int64_t> lengths;
  for (int64_t length = 0; lengths.size() < 128 && file >> length;) lengths.push_back(length);
  if (lengths.empty()) require(error(ErrorCode::kBadInput, "{} has no lengths", path));
  return lengths;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> only(argv + 1, argv + argc);
  const auto wanted = [&](const std::string& s) {
    return only.empty() || std::find(only.begin(), only.end(), s) != only.end();
  };
  const cuda::Device& device = *require(cuda::Device::open());
  require(device.use());
  cuda::Stream stream = nullptr;
  require(cuda::check(device.api().cuStreamCreate(&stream, 1), "creating a stream"));
  fmt::print("# {}, {} SMs\n# S batch heads us TFLOP/s kernel config\n", device.name(), device.multiprocessors());
  for (const int64_t heads : {12, 16}) {
    for (const int64_t s : {32, 128, 384, 512}) {
      if (wanted(std::to_string(s)))
        measure(device, stream, std::to_string(s), std::vector<int64_t>(static_cast<size_t>(kTokens / s), s), heads);
    }
    std::mt19937 engine(1);
    std::vector<int64_t> mixed;
    for (int64_t left = kTokens; left > 0; left -= mixed.back())
      mixed.push_back(std::min(left, std::uniform_int_distribution<int64_t>(32, 384)(engine)));
    if (wanted("mixed")) measure(device, stream, "mixed", mixed, heads);
    for (const std::string& s : only) {
      if (s.starts_with("list:")) measure(device, stream, "list", read_lengths(s.substr(5)), heads);
    }
    for (const int64_t s : {32, 128, 384, 512}) {
      if (wanted(std::to_string(s))) measure(device, stream, std::to_string(s), {s}, heads);
    }
  }
}
