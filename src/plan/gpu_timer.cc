#include "plan/gpu_timer.h"

#include <algorithm>
#include <set>

#include "kernels/cuda/cuda_kernel.h"
#include "kernels/cuda/nvrtc.h"

namespace tenon::plan {
namespace {

using cuda::check;
using cuda::DevicePtr;
using kernels::Config;
using kernels::Problem;

constexpr size_t kAlignment = 256;
constexpr size_t kRotation =
    size_t{128} << 20;                   // bytes that weights are taken from in turn; the L2 cache of an H200 has 60 MB
constexpr double kGraphSeconds = 1e-3;   // that a graph of launches shall take
constexpr double kWarmUpSeconds = 0.03;  // until the clock has settled to what the power allows
constexpr double kLargeSeconds = 3e-5;   // a launch that takes longer keeps the whole GPU busy
constexpr int kFewestLaunches = 6, kMostLaunches = 64;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Halves between 1/16 and 1, of either sign: sums stay finite, and the multipliers are as busy as with a model's
// numbers. Read as other floats the bits are finite too.
std::vector<uint16_t> random_halves(size_t count) {
  std::vector<uint16_t> halves(count);
  uint64_t state = 0x9e3779b97f4a7c15;
  for (uint16_t& h : halves) {
    state = state * 6364136223846793005 + 1442695040888963407;
    const auto bits = static_cast<unsigned>(state >> 40);
    h = static_cast<uint16_t>((bits & 0x83ff) | ((14 - (bits >> 17 & 3)) << 10));
  }
  return halves;
}

}  // namespace

Result<Machine> machine_at_hand() {
  TENON_ASSIGN(const cuda::Device* device, cuda::Device::open());
  return Machine{device->compute_capability(), device->multiprocessors(), device->name(),
                 device->driver_version() / 1000, 0, {}};
}

Result<std::unique_ptr<GpuTimer>> GpuTimer::create(const Machine& machine, KernelCache& cache,
                                                   double sustained) {
  TENON_ASSIGN(const cuda::Device* device, cuda::Device::open());
  if (device->compute_capability() != machine.compute_capability) {
    return error(ErrorCode::kNoDevice, "timing kernels for sm_{} needs such a GPU; {} is {}",
                 machine.compute_capability, device->name(), device->target());
  }
  std::unique_ptr<GpuTimer> made(new GpuTimer(*device, machine, cache, sustained));
  TENON_ASSIGN(made->queue_, runtime::GpuQueue::create(*device));
  return made;
}

GpuTimer::~GpuTimer() {
  if (!device_.use().ok()) return;
  queue_.reset();
  for (const auto& [name, loaded] : functions_) device_.api().cuModuleUnload(loaded.first);
  for (const Memory& m : {random_, results_, workspace_})
    if (m.data != 0) device_.api().cuMemFree(m.data);
}

std::string GpuTimer::declines(const Problem& problem) const {
  const Problem sized = with_rows(problem, 1);
  for (size_t i = 0; i < sized.inputs.size(); ++i) {
    if (!sized.present[i]) continue;
    if (!is_float(sized.inputs[i].dtype)) return fmt::format("what input {} holds decides the time", i);
    if (!ir::all_const(sized.inputs[i].shape))
      return fmt::format("the size of input {} depends on more than the rows", i);
  }
  for (const ir::TensorType& type : sized.outputs)
    if (!ir::all_const(type.shape)) return "the output's size depends on more than the rows";
  return "";
}

Status GpuTimer::compile(std::span<const Work> work, const std::function<void(double)>& progress) {
  std::vector<CodeRequest> requests;
  std::set<std::string> seen;
  for (const auto& [problem, config] : work) {
    const kernels::CudaKernel& kernel = *problem->kernel->as_cuda();
    auto source = kernel.code(problem->problem, config, machine_.compute_capability);
    if (!source) continue;
    std::string arch = kernel.arch(config, machine_.compute_capability);
    if (seen.insert(cuda::code_name(*source, arch)).second) requests.push_back({std::move(*source), std::move(arch)});
  }
  // What does not compile is left out of its races (prepare). Without a compiler nothing can be timed.
  const Status compiled = cache_.prepare(requests, progress);
  return compiled.code() == ErrorCode::kNoDevice ? compiled : Status();
}

Result<cuda::Function> GpuTimer::function(const ConfigProblem& problem, const Config& config) {
  const kernels::CudaKernel& kernel = *problem.kernel->as_cuda();
  const auto source = kernel.code(problem.problem, config, machine_.compute_capability);
  if (!source) return cuda::Function{};
  const CodeRequest request{*source, kernel.arch(config, machine_.compute_capability)};
  const std::string name = cuda::code_name(request.source, request.arch);
  if (const auto it = functions_.find(name); it != functions_.end()) return it->second.second;
  TENON_ASSIGN(const std::string cubin, cache_.get(request));
  cuda::Module module = nullptr;
  cuda::Function loaded = nullptr;
  TENON_TRY(check(device_.api().cuModuleLoadData(&module, cubin.data()), "loading a kernel"));
  const Status found =
      check(device_.api().cuModuleGetFunction(&loaded, module, source->entry.c_str()), "finding a kernel");
  functions_[name] = {module, loaded};
  if (!found.ok()) return found;
  return loaded;
}

Status GpuTimer::reserve(Memory& memory, size_t bytes, bool random) {
  if (bytes <= memory.bytes) return {};
  const cuda::Driver& api = device_.api();
  TENON_TRY(device_.use());
  TENON_TRY(queue_->wait());
  if (memory.data != 0) api.cuMemFree(memory.data);
  memory = {};
  TENON_TRY(check(api.cuMemAlloc(&memory.data, bytes), "allocating memory to time kernels in"));
  memory.bytes = bytes;
  if (!random) return {};
  const std::vector<uint16_t> halves = random_halves(size_t{4} << 20);
  const size_t piece = halves.size() * sizeof(uint16_t);
  for (size_t at = 0; at < bytes; at += piece) {
    const size_t n = std::min(piece, bytes - at);
    TENON_TRY(at == 0 ? check(api.cuMemcpyHtoDAsync(memory.data, halves.data(), n, nullptr), "uploading random data")
                      : check(api.cuMemcpyAsync(memory.data + at, memory.data, n, nullptr), "copying random data"));
  }
  return check(api.cuStreamSynchronize(nullptr), "copying random data");
}

// Activations first, then room for weights; results apart. As kernels read a little beyond the last row, each has a
// margin.
Status GpuTimer::place_tensors(const ConfigProblem& problem, int64_t rows) {
  const Problem sized = with_rows(problem.problem, rows);
  const auto tensor = [](const ir::TensorType& type) {
    Tensor t{type.dtype, ir::const_values(type.shape), dtype_size(type.dtype), 0, false};
    for (const int64_t n : t.shape) t.bytes *= static_cast<size_t>(n);
    return t;
  };
  inputs_.clear();
  outputs_.clear();
  weights_begin_ = weights_bytes_ = 0;
  for (size_t i = 0; i < sized.inputs.size(); ++i) {
    Tensor& t = inputs_.emplace_back();
    if (!sized.present[i]) continue;
    t = tensor(sized.inputs[i]);
    t.weight = sized.constant[i];
    if (t.weight) {
      const auto packed = problem.kernel->packed_type(problem.problem, static_cast<int>(i));
      if (packed) t.bytes = tensor(*packed).bytes;
      t.offset = weights_bytes_;
      weights_bytes_ += aligned(t.bytes);
    } else {
      t.offset = weights_begin_;
      weights_begin_ += aligned(t.bytes);
    }
  }
  size_t results = 0;
  for (const ir::TensorType& type : sized.outputs) {
    Tensor& t = outputs_.emplace_back(tensor(type));
    t.offset = results;
    results += aligned(t.bytes);
  }
  TENON_TRY(reserve(random_, weights_begin_ + std::max(kRotation, weights_bytes_) + kAlignment, true));
  return reserve(results_, results + kAlignment, false);
}

Result<std::vector<std::string>> GpuTimer::prepare(const ConfigProblem& problem, int64_t rows,
                                                   std::span<const Config> configs) {
  TENON_TRY(device_.use());
  TENON_TRY(queue_->wait());
  TENON_TRY(place_tensors(problem, rows));
  ++prepared_;
  launchers_.clear();
  launches_ = kFewestLaunches;
  std::vector<std::string> reasons;
  size_t scratch = 0;
  std::vector<ops::TensorArg> in, out;
  for (const Tensor& t : inputs_) in.push_back({t.dtype, t.shape, nullptr});
  for (const Tensor& t : outputs_) out.push_back({t.dtype, t.shape, nullptr});
  for (const Config& config : configs) {
    std::string& reason = reasons.emplace_back();
    std::unique_ptr<kernels::Launcher>& launcher = launchers_.emplace_back();
    // All do the same number of launches: they differ in nothing but the config.
    const double estimate = config.cost > 0 ? config.cost : 1e-4;
    launches_ = std::clamp(static_cast<int>(kGraphSeconds / estimate), launches_, kMostLaunches);
    const auto code = function(problem, config);
    if (!code.ok()) {
      reason = code.status().message();
      continue;
    }
    auto loaded = problem.kernel->as_cuda()->load(problem.problem, config, device_, *code);
    if (!loaded.ok()) {
      reason = loaded.status().message();
      continue;
    }
    const size_t needed = (*loaded)->workspace({.inputs = in, .outputs = out, .sizes = {}}, 1);
    if (machine_.workspace_limit > 0 && needed > machine_.workspace_limit) {
      reason = fmt::format("needs {} bytes of workspace, the limit is {}", needed, machine_.workspace_limit);
      continue;
    }
    scratch = std::max(scratch, needed);
    launcher = std::move(*loaded);
  }
  TENON_TRY(reserve(workspace_, scratch, false));
  // The first runs record the graphs.
  double warm = 0;
  for (bool first = true; first || (warm > 0 && warm < kWarmUpSeconds); first = false) {
    for (size_t i = 0; i < configs.size(); ++i) {
      if (launchers_[i] == nullptr) continue;
      const auto one = seconds(i);
      if (one.status().code() == ErrorCode::kUnsupported) {  // a library has nothing for these sizes
        reasons[i] = one.status().message();
        launchers_[i] = nullptr;
        continue;
      }
      if (!one.ok()) return one.status().with_context(fmt::format("{} {}", problem.kernel->id(), configs[i].text));
      warm += *one * launches_;
    }
  }
  return reasons;
}

Status GpuTimer::enqueue(const kernels::Launcher& launcher) {
  const size_t sets = weights_bytes_ > 0 ? std::max<size_t>(1, kRotation / weights_bytes_) : 1;
  std::vector<ops::TensorArg> in(inputs_.size()), out;
  for (const Tensor& t : outputs_) out.push_back({t.dtype, t.shape, reinterpret_cast<void*>(results_.data + t.offset)});
  for (int i = 0; i < launches_; ++i) {
    const size_t set = weights_begin_ + static_cast<size_t>(i) % sets * weights_bytes_;
    for (size_t k = 0; k < inputs_.size(); ++k) {
      const Tensor& t = inputs_[k];
      if (t.bytes == 0) continue;
      in[k] = {t.dtype, t.shape, reinterpret_cast<void*>(random_.data + (t.weight ? set : 0) + t.offset)};
    }
    TENON_TRY(launcher.launch({.inputs = in,
                               .outputs = out,
                               .sizes = {},
                               .workspace = reinterpret_cast<void*>(workspace_.data),
                               .stream = queue_->stream()}));
  }
  return {};
}

Result<double> GpuTimer::seconds(size_t index) {
  const std::vector<int64_t> key = {prepared_, static_cast<int64_t>(index)};
  double all = 0;
  int replays = 0;
  do {
    TENON_ASSIGN(const double one,
                 queue_->time([&] { return queue_->run(key, [&] { return enqueue(*launchers_[index]); }); }));
    all += one;
    ++replays;
  } while (all / replays > kLargeSeconds * launches_ && all < sustained_);
  return all / (replays * launches_);
}

}  // namespace tenon::plan
