#include "runtime/gpu.h"

#include <algorithm>
#include <utility>

#include "runtime/choose_plan.h"

namespace tenon::runtime {

using cuda::check;

Result<std::unique_ptr<GpuProgram>> GpuProgram::load(const engine::EngineFile& file, const engine::Plan& plan) {
  std::unique_ptr<GpuProgram> made(new GpuProgram);
  TENON_ASSIGN(const cuda::Device* device, cuda::Device::open());
  made->device_ = std::make_unique<cuda::Device>(device->with_code_of(capability_of(plan.target)));
  TENON_TRY(made->device_->use());
  TENON_TRY(made->load_weights(file, plan));
  TENON_TRY(made->load_codes(plan));
  return made;
}

GpuProgram::~GpuProgram() {
  if (device_ == nullptr || !device_->use().ok()) return;
  for (cuda::Module m : modules_) device_->api().cuModuleUnload(m);
  if (memory_ != 0) device_->api().cuMemFree(memory_);
}

Status GpuProgram::load_weights(const engine::EngineFile& file, const engine::Plan& plan) {
  constexpr uint64_t kAlignment = 256;
  std::vector<bool> needed(plan.weights.size());
  for (const engine::PlanValue& v : plan.values) {
    if (v.kind == engine::PlanValue::Kind::kWeight && v.place == engine::Place::kDevice) needed[static_cast<size_t>(v.source)] = true;
  }
  uint64_t total = 0;
  std::vector<uint64_t> offsets(plan.weights.size());
  for (size_t i = 0; i < needed.size(); ++i) {
    if (!needed[i]) continue;
    offsets[i] = total;
    total += (plan.weights[i].bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  weights_.assign(plan.weights.size(), 0);
  if (total == 0) return {};
  TENON_TRY(check(device_->api().cuMemAlloc(&memory_, total), "allocating the weights' memory"));
  for (size_t i = 0; i < needed.size(); ++i) {
    if (!needed[i]) continue;
    weights_[i] = memory_ + offsets[i];
    TENON_TRY(check(device_->api().cuMemcpyHtoDAsync(weights_[i], file.weight(plan.weights[i]), plan.weights[i].bytes, nullptr), "uploading weights"));
  }
  return check(device_->api().cuStreamSynchronize(nullptr), "uploading weights");
}

Status GpuProgram::load_codes(const engine::Plan& plan) {
  const bool translates = fit_of(plan, device_->compute_capability()) == Fit::kTranslated;
  for (const engine::PlanCode& code : plan.codes) {
    cuda::Module module = nullptr;
    cuda::Function function = nullptr;
    const int loaded = device_->api().cuModuleLoadData(&module, (translates ? code.ptx : code.cubin).data());
    constexpr int kUnsupportedPtxVersion = 222;
    if (loaded == kUnsupportedPtxVersion) {
      return error(ErrorCode::kEngineVersion, "the driver is of CUDA {}.{} and cannot translate the engine's code for {}: update it, or build with --target {}",
                   device_->driver_version() / 1000, device_->driver_version() % 1000 / 10, plan.target, device_->target());
    }
    Status s = check(loaded, "loading a kernel");
    if (s.ok()) {
      modules_.push_back(module);
      s = check(device_->api().cuModuleGetFunction(&function, module, code.entry.c_str()), "finding a kernel");
    }
    if (!s.ok()) return s.with_context(code.source + " for " + code.arch);
    functions_.push_back(function);
  }
  return {};
}

Result<std::unique_ptr<GpuQueue>> GpuQueue::create(const cuda::Device& device) {
  TENON_TRY(device.use());
  std::unique_ptr<GpuQueue> made(new GpuQueue(device));
  constexpr unsigned kNonBlocking = 1;
  TENON_TRY(check(device.api().cuStreamCreate(&made->stream_, kNonBlocking), "creating a stream"));
  TENON_TRY(check(device.api().cuEventCreate(&made->begin_, 0), "creating an event"));
  TENON_TRY(check(device.api().cuEventCreate(&made->end_, 0), "creating an event"));
  return made;
}

GpuQueue::~GpuQueue() {
  if (!device_.use().ok()) return;
  const cuda::Driver& api = device_.api();
  if (stream_ != nullptr) api.cuStreamSynchronize(stream_);
  for (const Recorded& r : graphs_)
    if (r.graph != nullptr) api.cuGraphExecDestroy(r.graph);
  if (delay_module_ != nullptr) api.cuModuleUnload(delay_module_);
  if (begin_ != nullptr) api.cuEventDestroy(begin_);
  if (end_ != nullptr) api.cuEventDestroy(end_);
  if (stream_ != nullptr) api.cuStreamDestroy(stream_);
}

Result<cuda::GraphExec> GpuQueue::record(const std::function<Status()>& enqueue) {
  const cuda::Driver& api = device_.api();
  constexpr int kRelaxed = 2;
  TENON_TRY(check(api.cuStreamBeginCapture(stream_, kRelaxed), "recording a graph"));
  const Status enqueued = enqueue();
  cuda::Graph graph = nullptr;
  const Status ended = check(api.cuStreamEndCapture(stream_, &graph), "recording a graph");
  cuda::GraphExec exec = nullptr;
  Status s = enqueued.ok() ? ended : enqueued;
  if (s.ok()) s = check(api.cuGraphInstantiateWithFlags(&exec, graph, 0), "making a graph");
  if (graph != nullptr) api.cuGraphDestroy(graph);
  if (!s.ok()) return s;
  return exec;
}

std::vector<GpuQueue::Recorded>::iterator GpuQueue::find(const std::vector<int64_t>& key) {
  return std::find_if(graphs_.begin(), graphs_.end(), [&](const Recorded& r) { return r.key == key; });
}

Result<std::vector<GpuQueue::Recorded>::iterator> GpuQueue::add(const std::vector<int64_t>& key) {
  if (graphs_.size() == kMostGraphs) {
    TENON_TRY(wait());
    const auto oldest = std::min_element(graphs_.begin(), graphs_.end(), [](const Recorded& a, const Recorded& b) { return a.used < b.used; });
    if (oldest->graph != nullptr) device_.api().cuGraphExecDestroy(oldest->graph);
    graphs_.erase(oldest);
  }
  return graphs_.insert(graphs_.end(), {key, nullptr, ++clock_});
}

Result<bool> GpuQueue::came_before(const std::vector<int64_t>& key) {
  if (find(key) != graphs_.end()) return true;
  TENON_ASSIGN([[maybe_unused]] const auto added, add(key));
  return false;
}

Status GpuQueue::run(const std::vector<int64_t>& key, const std::function<Status()>& enqueue) {
  auto it = find(key);
  if (it == graphs_.end()) {
    TENON_ASSIGN(it, add(key));
  }
  it->used = ++clock_;
  if (it->graph == nullptr) {
    TENON_ASSIGN(it->graph, record(enqueue));
    ++recorded_;
  }
  busy_ = true;
  return check(device_.api().cuGraphLaunch(it->graph, stream_), "launching a graph");
}

Status GpuQueue::run_once(const std::function<Status()>& enqueue) {
  busy_ = true;
  return enqueue();
}

Status GpuQueue::wait() {
  if (!std::exchange(busy_, false)) return {};
  return check(device_.api().cuStreamSynchronize(stream_), "running on the GPU");
}

Status GpuQueue::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return {};
  TENON_TRY(device_.use());
  busy_ = true;
  return check(device_.api().cuMemcpyAsync(reinterpret_cast<cuda::DevicePtr>(to), reinterpret_cast<cuda::DevicePtr>(from), bytes, stream_), "copying");
}

// A kernel that does nothing for so many nanoseconds, for the driver's own assembler.
constexpr char kDelayCode[] = R"(// delay
.version 7.0
.target sm_52
.address_size 64
.visible .entry delay(.param .u64 nanoseconds) {
  .reg .u64 most, begin, now;
  .reg .pred early;
  ld.param.u64 most, [nanoseconds];
  mov.u64 begin, %globaltimer;
again:
  mov.u64 now, %globaltimer;
  sub.u64 now, now, begin;
  setp.lt.u64 early, now, most;
  @early bra again;
  ret;
}
)";

void GpuQueue::make_delay() {
  if (std::exchange(asked_for_delay_, true)) return;
  const cuda::Driver& api = device_.api();
  if (api.cuModuleLoadData(&delay_module_, kDelayCode) != 0) return;
  if (api.cuModuleGetFunction(&delay_, delay_module_, "delay") != 0) delay_ = nullptr;
}

Result<double> GpuQueue::time_short(const std::function<Status()>& enqueue) {
  make_delay();
  if (delay_ != nullptr) {
    uint64_t nanoseconds = 20'000;
    void* parameters[] = {&nanoseconds};
    const cuda::LaunchConfig one = {.grid = {1, 1, 1}, .block = {1, 1, 1}, .shared_bytes = 0, .stream = stream_, .attributes = nullptr, .num_attributes = 0};
    TENON_TRY(check(device_.api().cuLaunchKernelEx(&one, delay_, parameters, nullptr), "timing"));
  }
  return time(enqueue);
}

Result<double> GpuQueue::time(const std::function<Status()>& enqueue) {
  const cuda::Driver& api = device_.api();
  TENON_TRY(check(api.cuEventRecord(begin_, stream_), "timing"));
  TENON_TRY(enqueue());
  TENON_TRY(check(api.cuEventRecord(end_, stream_), "timing"));
  TENON_TRY(check(api.cuEventSynchronize(end_), "running on the GPU"));
  float milliseconds = 0;
  TENON_TRY(check(api.cuEventElapsedTime(&milliseconds, begin_, end_), "timing"));
  return milliseconds * 1e-3;
}

}  // namespace tenon::runtime
