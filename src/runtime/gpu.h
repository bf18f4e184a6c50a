// What an engine and a context keep on a GPU.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/reader.h"
#include "kernels/cuda/driver.h"

namespace tenon::runtime {

// The weights and kernels of an engine on one GPU. Immutable, shared by contexts.
class GpuProgram {
 public:
  // Of a plan that runs on the GPU (choose_plan). Errors: no-device; engine-version (the driver is too old to translate the
  // code); out-of-memory.
  static Result<std::unique_ptr<GpuProgram>> load(const engine::EngineFile& file, const engine::Plan& plan);
  ~GpuProgram();
  GpuProgram(const GpuProgram&) = delete;
  GpuProgram& operator=(const GpuProgram&) = delete;

  const cuda::Device& device() const { return *device_; }  // with_code_of the plan
  // Where a weight lies; null when no step reads it there.
  std::byte* weight(int source) const { return reinterpret_cast<std::byte*>(weights_[static_cast<size_t>(source)]); }
  // The kernel of Plan::codes[code]; null for -1.
  cuda::Function function(int code) const { return code < 0 ? nullptr : functions_[static_cast<size_t>(code)]; }

 private:
  GpuProgram() = default;
  Status load_weights(const engine::EngineFile& file, const engine::Plan& plan);
  Status load_codes(const engine::Plan& plan);

  std::unique_ptr<const cuda::Device> device_;
  cuda::DevicePtr memory_ = 0;
  std::vector<cuda::DevicePtr> weights_;
  std::vector<cuda::Module> modules_;
  std::vector<cuda::Function> functions_;
};

// A context's stream, and the graphs of what it has run: launching a graph costs one call, not one for each kernel.
class GpuQueue {
 public:
  static Result<std::unique_ptr<GpuQueue>> create(const cuda::Device& device);
  ~GpuQueue();
  GpuQueue(const GpuQueue&) = delete;
  GpuQueue& operator=(const GpuQueue&) = delete;

  const cuda::Device& device() const { return device_; }
  void* stream() const { return stream_; }
  // Runs what `enqueue` puts on the stream. `key` says all that decides it: equal keys replay the graph recorded first.
  Status run(const std::vector<int64_t>& key, const std::function<Status()>& enqueue);
  // Whether this key was run, or asked for here, before.
  Result<bool> came_before(const std::vector<int64_t>& key);
  // The same without a graph.
  Status run_once(const std::function<Status()>& enqueue);
  int recorded() const { return recorded_; }  // graphs, since the queue was made
  // Waits for all that was put on the stream. Errors: internal (a kernel failed).
  Status wait();
  // Copies after all that was put on the stream, between addresses of the host's or the device's memory.
  Status copy(void* to, const void* from, size_t bytes);
  // Runs `enqueue` and measures it on the GPU. Returns seconds.
  Result<double> time(const std::function<Status()>& enqueue);
  // The same behind a short delay, so that the GPU does not wait for the host meanwhile: for what takes microseconds.
  Result<double> time_short(const std::function<Status()>& enqueue);

 private:
  explicit GpuQueue(const cuda::Device& device) : device_(device) {}
  Result<cuda::GraphExec> record(const std::function<Status()>& enqueue);

  static constexpr size_t kMostGraphs = 256;
  struct Recorded {
    std::vector<int64_t> key;
    cuda::GraphExec graph = nullptr;  // null: the key came once
    uint64_t used = 0;
  };
  std::vector<Recorded>::iterator find(const std::vector<int64_t>& key);
  Result<std::vector<Recorded>::iterator> add(const std::vector<int64_t>& key);
  void make_delay();

  const cuda::Device& device_;
  cuda::Stream stream_ = nullptr;
  cuda::Event begin_ = nullptr, end_ = nullptr;
  cuda::Module delay_module_ = nullptr;
  cuda::Function delay_ = nullptr;  // null: not yet asked for, or this driver cannot make it
  bool asked_for_delay_ = false;
  std::vector<Recorded> graphs_;
  uint64_t clock_ = 0;
  int recorded_ = 0;
  bool busy_ = false;
};

}  // namespace tenon::runtime
