// Speed of the memory-bound kernels on the GPU, f16, beside a copy of as many bytes.
//
//   row_bench
//
// A CUDA graph of 48 launches, each of which may start while the one ahead ends (as in a model), over several sets of
// tensors in turn: together more than the L2 cache at 16,384 rows, within it at 128. Median of nine replays. TB/s
// counts what must move: activations read and written, for embedding the rows of the first table. Floors: layer_norm at
// 16,384 x 768 reaches 80 % of the copy; every kernel at 128 rows takes at most 2.5 µs, but for transpose, which is no
// kernel of its own but the copy of any strided view. Fails where one is missed.
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "bench/gpu/graph_timing.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/nvrtc.h"
#include "ops/create.h"

namespace {

using namespace tenon;
using bench::require;
using kernels::CudaKernel;
using kernels::Problem;

constexpr int kLaunches = 48, kSets = 6;

struct Input {
  DType dtype;
  std::vector<int64_t> shape;
  bool weight = false;
};

struct Case {
  const char* name;
  const kernels::Kernel& kernel;
  ir::Op op;
  ir::Attrs attrs;
  std::vector<Input> inputs;
  double bytes;  // that must move
};

std::vector<Case> cases_of(int64_t rows, int64_t width) {
  using ir::Op;
  const Input x{DType::kF16, {rows, width}}, weight{DType::kF16, {width}, true}, ids{DType::kI64, {rows}};
  const auto table = [&](int64_t n) { return Input{DType::kF16, {n, width}, true}; };
  const double one = 2.0 * static_cast<double>(rows * width);
  const auto program = [](const char* text) {
    return ir::Attrs{{"program", std::string(text)}, {"dtype", DType::kF16}};
  };
  const Input bounds{DType::kI32, {rows / 128}};
  namespace device = kernels::cuda;
  return {
      {"layer_norm", device::layer_norm_kernel(), Op::k_layer_norm, {}, {x, weight, weight}, 2 * one},
      {"layer_norm + residual", device::layer_norm_kernel(), Op::k_layer_norm, {}, {x, weight, weight, x}, 3 * one},
      {"rms_norm", device::rms_norm_kernel(), Op::k_rms_norm, {}, {x, weight}, 2 * one},
      {"embedding of 3, norm",
       device::embedding_kernel(),
       Op::k_embedding,
       {{"norm", int64_t{1}}},
       {ids, table(30522), ids, table(512), ids, table(2), weight, weight},
       2 * one},
      {"x + y", device::pointwise_kernel(), Op::k_add, {}, {x, x}, 3 * one},
      {"gelu(x + row)",
       device::pointwise_kernel(),
       Op::k_pointwise,
       program("t0=add(x0,x1);t1=gelu(t0)"),
       {x, weight},
       2 * one},
      {"softmax", device::softmax_kernel(), Op::k_softmax, {}, {x}, 2 * one},
      {"gather rows", device::gather_kernel(), Op::k_gather, {}, {x, ids}, 2 * one},
      {"transpose", device::view_kernel(), Op::k_transpose, {{"perm", std::vector<int64_t>{1, 0}}}, {x}, 2 * one},
      {"mean of 128 rows",
       device::reduce_kernel(),
       Op::k_segment_reduce,
       {{"kind", std::string("mean")}},
       {x, bounds, bounds},
       one},
  };
}

class Bench {
 public:
  Bench() : device_(*require(cuda::Device::open())), api_(device_.api()) {
    require(device_.use());
    require(cuda::check(api_.cuStreamCreate(&stream_, 1), "stream"));
  }

  const cuda::Device& device() const { return device_; }

  // Microseconds of one launch.
  double time(const Case& c) {
    ir::Graph graph;
    std::vector<ir::Value*> values;
    for (const Input& in : c.inputs)
      values.push_back(graph.add_input(graph.unique_name("x"), {in.dtype, ir::to_shape(in.shape)}));
    const ir::Node* node = require(ops::create(graph, c.op, values, c.attrs));
    Problem p;
    p.op = c.op;
    p.attrs = node->attrs();
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      p.inputs.push_back(values[i]->type());
      p.present.push_back(true);
      p.constant.push_back(c.inputs[i].weight);
    }
    p.outputs = {node->output()->type()};
    const CudaKernel& kernel = *c.kernel.as_cuda();
    const auto support = kernel.supports(p);
    if (!support) require(error(ErrorCode::kUnsupported, "{}", support.reason));
    const kernels::Config config = kernel.configs(p).front();
    const auto source = kernel.code(p, config, device_.compute_capability());
    const std::string cubin = require(cuda::compile(*source, kernel.arch(config, device_.compute_capability()))).code;
    const bench::Loaded loaded = bench::load_code(device_, cubin, source->entry);
    const auto launcher = require(kernel.load(p, config, device_, loaded.function));

    std::vector<cuda::DevicePtr> memory;
    std::vector<std::vector<ops::TensorArg>> inputs(kSets), outputs(kSets);
    const std::vector<int64_t> y_shape = ir::const_values(p.outputs[0].shape);
    for (int set = 0; set < kSets; ++set) {
      for (size_t i = 0; i < c.inputs.size(); ++i) {
        const Input& in = c.inputs[i];
        if (in.weight && set > 0) {
          inputs[static_cast<size_t>(set)].push_back(inputs[0][i]);
        } else {
          memory.push_back(fill(in, c.op == ir::Op::k_segment_reduce && i == 2));
          inputs[static_cast<size_t>(set)].push_back({in.dtype, in.shape, reinterpret_cast<void*>(memory.back())});
        }
      }
      memory.push_back(fill({p.outputs[0].dtype, y_shape}, false));
      outputs[static_cast<size_t>(set)].push_back(
          {p.outputs[0].dtype, y_shape, reinterpret_cast<void*>(memory.back())});
    }
    const double us = time_launches([&](int i) {
      const auto set = static_cast<size_t>(i % kSets);
      return launcher->launch({.inputs = inputs[set], .outputs = outputs[set], .sizes = {}, .stream = stream_});
    });
    for (const cuda::DevicePtr data : memory) api_.cuMemFree(data);
    api_.cuModuleUnload(loaded.module);
    return us;
  }

  // Of the driver's copy, which reads and writes this many bytes together.
  double time_copy(double bytes) {
    const size_t half = static_cast<size_t>(bytes / 2);
    std::vector<cuda::DevicePtr> memory(2 * kSets);
    for (cuda::DevicePtr& data : memory) require(cuda::check(api_.cuMemAlloc(&data, half), "allocating"));
    const double us = time_launches([&](int i) {
      const auto set = static_cast<size_t>(i % kSets);
      return cuda::check(api_.cuMemcpyAsync(memory[2 * set], memory[2 * set + 1], half, stream_), "copying");
    });
    for (const cuda::DevicePtr data : memory) api_.cuMemFree(data);
    return us;
  }

 private:
  // Random halves of the order of 1; ids within the smallest table (0 and 1) but for gathered rows, ends of 128 rows.
  cuda::DevicePtr fill(const Input& in, bool ends) {
    size_t count = 1;
    for (const int64_t n : in.shape) count *= static_cast<size_t>(n);
    std::vector<std::byte> host(count * dtype_size(in.dtype));
    for (size_t i = 0; i < count; ++i) {
      state_ = state_ * 6364136223846793005 + 1442695040888963407;
      const uint64_t bits = state_ >> 33;
      if (in.dtype == DType::kF16) {
        const auto h = static_cast<uint16_t>((bits & 0x83ff) | ((15 - (bits >> 17 & 3)) << 10));
        std::memcpy(&host[2 * i], &h, 2);
      } else if (in.dtype == DType::kI64) {
        const auto id = static_cast<int64_t>(bits % count);  // kernels clamp what is beyond a table
        std::memcpy(&host[8 * i], &id, 8);
      } else {
        const auto row = static_cast<int32_t>(128 * (i + (ends ? 1 : 0)));
        std::memcpy(&host[4 * i], &row, 4);
      }
    }
    return bench::upload(device_, host);
  }

  template <class F>
  double time_launches(F launch) {
    return bench::time_launches(device_, stream_, kLaunches, launch);
  }

  const cuda::Device& device_;
  const cuda::Driver& api_;
  cuda::Stream stream_ = nullptr;
  uint64_t state_ = 0x9e3779b97f4a7c15;
};

}  // namespace

int main() {
  Bench bench;
  fmt::print("{}\n\n| rows x width | kernel | us | TB/s | of a copy |\n|---|---|---|---|---|\n", bench.device().name());
  bool met = true;
  for (const int64_t rows : {128, 16384}) {
    for (const int64_t width : {768, 1024}) {
      for (const Case& c : cases_of(rows, width)) {
        const double us = bench.time(c), copy = bench.time_copy(c.bytes);
        fmt::print("| {} x {} | {} | {:.2f} | {:.2f} | {:.0f} % |\n", rows, width, c.name, us, c.bytes / us * 1e-6,
                   100 * copy / us);
        if (rows == 128 && us > 2.5 && c.op != ir::Op::k_transpose)
          met = false, fmt::print("missed: {} takes more than 2.5 us\n", c.name);
        if (c.op == ir::Op::k_layer_norm && rows == 16384 && width == 768 && us > copy / 0.8)
          met = false, fmt::print("missed: below 80 % of a copy\n");
      }
    }
  }
  return met ? 0 : 1;
}
