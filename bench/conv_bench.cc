// Speed of the kernels of conv on the layers of ResNet-50, beside the processor's peak measured in the same run.
//
//   conv_bench [threads] [isa] [batch]
//
// Random weights and images; layers run in the order of the network, so that weights stream from memory and images stay
// in the cache as in a model; each has its bias, relu and, where the network has one, its residual. Times are of the
// best round (other processes only ever add time), the last column is the median; "%" is of the best rate of
// multiply-adds on registers, of which Winograd's kernels do fewer than are counted. "*" marks the kernel that a build
// chooses, whose time is in the sum.
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bench/floats.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/winograd.h"
#include "ops/create.h"
#include "tools/peak.h"

namespace {

using namespace tenon;
using namespace tenon::kernels;
using bench::Floats;
using kernels::cpu::Isa;

struct Layer {
  const char* name;
  int64_t count, size, channels, filters, kernel, stride;  // of square images of so many pixels
  bool residual;
};
constexpr Layer kLayers[] = {
    {"first", 1, 224, 3, 64, 7, 2, false},
    {"1 reduce", 1, 56, 64, 64, 1, 1, false},
    {"1 shortcut", 1, 56, 64, 256, 1, 1, false},
    {"1 reduce 256", 2, 56, 256, 64, 1, 1, false},
    {"1 3x3", 3, 56, 64, 64, 3, 1, false},
    {"1 expand", 3, 56, 64, 256, 1, 1, true},
    {"2 reduce 256", 1, 56, 256, 128, 1, 1, false},
    {"2 3x3 / 2", 1, 56, 128, 128, 3, 2, false},
    {"2 shortcut", 1, 56, 256, 512, 1, 2, false},
    {"2 reduce", 3, 28, 512, 128, 1, 1, false},
    {"2 3x3", 3, 28, 128, 128, 3, 1, false},
    {"2 expand", 4, 28, 128, 512, 1, 1, true},
    {"3 reduce 512", 1, 28, 512, 256, 1, 1, false},
    {"3 3x3 / 2", 1, 28, 256, 256, 3, 2, false},
    {"3 shortcut", 1, 28, 512, 1024, 1, 2, false},
    {"3 reduce", 5, 14, 1024, 256, 1, 1, false},
    {"3 3x3", 5, 14, 256, 256, 3, 1, false},
    {"3 expand", 6, 14, 256, 1024, 1, 1, true},
    {"4 reduce 1024", 1, 14, 1024, 512, 1, 1, false},
    {"4 3x3 / 2", 1, 14, 512, 512, 3, 2, false},
    {"4 shortcut", 1, 14, 1024, 2048, 1, 2, false},
    {"4 reduce", 2, 7, 2048, 512, 1, 1, false},
    {"4 3x3", 2, 7, 512, 512, 3, 1, false},
    {"4 expand", 3, 7, 512, 2048, 1, 1, true},
};

ir::Tensor random_tensor(std::vector<int64_t> shape, std::mt19937& generator) {
  std::byte* bytes = nullptr;
  ir::Tensor t = *ir::Tensor::allocate(DType::kF32, std::move(shape), &bytes);
  auto* x = reinterpret_cast<float*>(bytes);
  std::normal_distribution<float> normal(0.0f, 0.5f);
  for (int64_t i = 0; i < t.numel(); ++i) x[i] = i < 65536 ? normal(generator) : x[i - 65536];
  return t;
}

// Images that all layers share: x, residual and y, which is the residual where it may be.
using Images = std::vector<Floats>;

// A layer with its packed weights.
class Step {
 public:
  Step(const Layer& layer, const cpu::CpuKernel& kernel, int64_t batch, Isa isa, Images& images,
       std::mt19937& generator) {
    const int64_t out = (layer.size + layer.stride - 1) / layer.stride, pad = layer.kernel / 2;
    const ir::Tensor w = random_tensor({layer.filters, layer.channels, layer.kernel, layer.kernel}, generator);
    bias_ = random_tensor({layer.filters}, generator);
    shapes_ = {
        {batch, layer.size, layer.size, layer.channels}, w.shape(), bias_.shape(), {batch, out, out, layer.filters}};
    std::vector<ir::Value*> values;
    for (int i = 0; i < 4; ++i)
      values.push_back(
          graph_.add_input(fmt::format("x{}", i), {DType::kF32, ir::to_shape(shapes_[static_cast<size_t>(i)])}));
    if (!layer.residual) values[3] = nullptr;
    ir::Node* node = *ops::create(graph_, ir::Op::k_conv, values,
                                  {{"strides", std::vector<int64_t>{layer.stride, layer.stride}},
                                   {"pads", ir::to_shape({pad, pad, pad, pad})},
                                   {"channels_last", int64_t{1}},
                                   {"activation", std::string("relu")},
                                   {"activate_sum", int64_t{1}}});
    Problem& problem = problem_;
    problem.op = ir::Op::k_conv;
    problem.attrs = node->attrs();
    for (size_t i = 0; i < 4; ++i) {
      problem.inputs.push_back({DType::kF32, ir::to_shape(shapes_[i])});
      problem.present.push_back(values[i] != nullptr);
      problem.constant.push_back(i == 1 || i == 2);
    }
    problem.outputs = {node->output()->type()};
    if (!kernel.supports(problem)) return;
    const ir::Tensor packed = *kernel.prepack(problem, 1, w);
    weights_ = Floats((packed.bytes() + sizeof(float) - 1) / sizeof(float));
    std::memcpy(weights_.get(), packed.data(), packed.bytes());
    launcher_ = std::move(*kernel.prepare_for(problem, {}, isa));
    pads_ = {pad, pad, pad, pad};
    sizes_ = {{"pads", pads_}};
    void* data[] = {images[0].get(), weights_.get(), const_cast<std::byte*>(bias_.data()),
                    layer.residual ? images[1].get() : nullptr};
    for (size_t k = 0; k < 4; ++k) inputs_.push_back({DType::kF32, shapes_[k], data[k]});
    outputs_ = {
        {DType::kF32, shapes_[3], kernel.in_place(problem, 3) && layer.residual ? images[1].get() : images[2].get()}};
  }

  bool runs() const { return launcher_ != nullptr; }
  // The kernel that a build chooses.
  std::string_view chosen() const {
    for (const Kernel* kernel : cpu_kernel_list())
      if (kernel->supports(problem_)) return kernel->id();
    return "";
  }
  size_t workspace(int threads) const {
    return launcher_->workspace({.inputs = inputs_, .outputs = outputs_, .sizes = sizes_}, threads);
  }
  void run(void* workspace, ThreadPool& pool) const {
    const Status s = launcher_->launch({.inputs = inputs_,
                                        .outputs = outputs_,
                                        .sizes = sizes_,
                                        .workspace = workspace,
                                        .pool = pool.threads() == 1 ? nullptr : &pool});
    if (!s.ok()) std::abort();
  }
  double operations() const {
    return 2.0 * static_cast<double>(outputs_[0].numel() * inputs_[1].numel() / inputs_[1].dim(0));
  }

 private:
  ir::Graph graph_;
  Problem problem_;
  std::vector<std::vector<int64_t>> shapes_;  // x, w, bias, residual and y
  Floats weights_;
  ir::Tensor bias_;
  std::vector<int64_t> pads_;
  std::vector<ops::Sizes> sizes_;
  std::vector<ops::TensorArg> inputs_, outputs_;
  std::unique_ptr<Launcher> launcher_;
};

}  // namespace

int main(int argc, char** argv) {
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  Isa isa = cpu::available_isas().front();
  for (Isa i : cpu::available_isas())
    if (argc > 2 && cpu::isa_name(i) == argv[2]) isa = i;
  const int64_t batch = argc > 3 ? std::atoi(argv[3]) : 1;
  std::mt19937 generator(std::random_device{}());
  Images images;
  for (int i = 0; i < 3; ++i) {
    const auto count = static_cast<size_t>(batch * 56 * 56 * 256);  // the largest
    images.emplace_back(count);
    for (size_t k = 0; k < count; ++k) images.back().get()[k] = std::normal_distribution<float>(0.0f, 0.5f)(generator);
  }
  const cpu::WinogradKernel two(2, true), four(4, true);
  struct Row {
    const Layer& layer;
    std::string_view kernel;
    bool is_chosen;
    std::vector<std::unique_ptr<Step>> steps;
    std::vector<double> times = {};
  };
  std::vector<Row> rows;
  size_t bytes = 64;
  for (const Layer& layer : kLayers) {
    for (const cpu::CpuKernel* kernel :
         {&cpu::conv_kernel(), static_cast<const cpu::CpuKernel*>(&two), static_cast<const cpu::CpuKernel*>(&four)}) {
      std::vector<std::unique_ptr<Step>> steps;
      for (int64_t i = 0; i < layer.count; ++i)
        steps.push_back(std::make_unique<Step>(layer, *kernel, batch, isa, images, generator));
      if (!steps[0]->runs()) continue;
      bytes = std::max(bytes, steps[0]->workspace(pool.threads()));
      rows.push_back({layer, kernel->id(), steps[0]->chosen() == kernel->id(), std::move(steps)});
    }
  }
  const Floats workspace(bytes / sizeof(float));
  const int rounds = static_cast<int>(std::max<int64_t>(3, 24 / batch));
  double peak = 0;
  for (int round = 0; round < rounds; ++round) {
    if (round % 8 == 0) peak = std::max(peak, tools::measured_peak(isa, "f32", pool));
    for (Row& row : rows) {
      const double start = tools::pool_seconds(pool);
      for (const auto& step : row.steps) step->run(workspace.get(), pool);
      row.times.push_back(tools::pool_seconds(pool) - start);
    }
  }
  fmt::print("{}, {} threads, batch {}, peak {:.0f} G/s\n{:<14} {:<24} {:>6} {:>9} {:>7} {:>5} {:>9}\n",
             cpu::isa_name(isa), pool.threads(), batch, peak, "layer", "kernel", "times", "ms", "G/s", "%",
             "median ms");
  double all = 0, all_medians = 0, operations = 0;
  const auto print = [&](const char* name, std::string_view kernel, int64_t count, double best, double median,
                         double work) {
    const double rate = work / best * 1e-9;
    fmt::print("{:<14} {:<24} {:>6} {:>9.3f} {:>7.0f} {:>5.0f} {:>9.3f}\n", name, kernel, count, 1e3 * best, rate,
               100 * rate / peak, 1e3 * median);
  };
  for (Row& row : rows) {
    std::sort(row.times.begin(), row.times.end());
    const double work = row.steps[0]->operations() * static_cast<double>(row.layer.count),
                 median = row.times[row.times.size() / 2];
    print(row.layer.name, fmt::format("{}{}", row.kernel, row.is_chosen ? " *" : ""), row.layer.count, row.times[0],
          median, work);
    if (!row.is_chosen) continue;
    all += row.times[0], all_medians += median, operations += work;
  }
  print("all", "", 53, all, all_medians, operations);
  return 0;
}
