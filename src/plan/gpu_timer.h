// Times configs on the GPU at hand, as a model would run them: in a recorded graph of many launches, on random data,
// each with the next weights out of more than the L2 cache holds.
#pragma once

#include <map>
#include <memory>

#include "plan/autotuner.h"
#include "plan/kernel_cache.h"
#include "runtime/gpu.h"

namespace tenon::plan {

// The GPU at hand. Errors: no-device.
Result<Machine> machine_at_hand();

class GpuTimer final : public ConfigTimer {
 public:
  // `machine` is the one at hand. `cache` must outlive the timer. Errors: no-device, internal.
  // `sustained`: seconds that one sample of a large problem lasts (TuneOptions).
  static Result<std::unique_ptr<GpuTimer>> create(const Machine& machine, KernelCache& cache, double sustained = 0);
  ~GpuTimer() override;

  std::string declines(const kernels::Problem& problem) const override;
  Status compile(std::span<const Work> work, const std::function<void(double)>& progress) override;
  Result<std::vector<std::string>> prepare(const ConfigProblem& problem, int64_t rows,
                                           std::span<const kernels::Config> configs) override;
  Result<double> seconds(size_t index) override;

 private:
  GpuTimer(const cuda::Device& device, const Machine& machine, KernelCache& cache, double sustained)
      : device_(device), machine_(machine), cache_(cache), sustained_(sustained) {}

  // Device memory, or nothing.
  struct Memory {
    cuda::DevicePtr data = 0;
    size_t bytes = 0;
  };
  Status reserve(Memory& memory, size_t bytes, bool random);
  Status place_tensors(const ConfigProblem& problem, int64_t rows);
  Result<cuda::Function> function(const ConfigProblem& problem, const kernels::Config& config);
  Status enqueue(const kernels::Launcher& launcher);

  const cuda::Device& device_;
  Machine machine_;
  KernelCache& cache_;
  double sustained_;
  std::unique_ptr<runtime::GpuQueue> queue_;
  std::map<std::string, std::pair<cuda::Module, cuda::Function>> functions_;  // by cuda::code_name
  Memory random_, results_, workspace_;

  // Of the problem that was prepared last.
  struct Tensor {
    DType dtype{};
    std::vector<int64_t> shape;
    size_t bytes = 0, offset = 0;  // in random_ (weights: of the first) or results_
    bool weight = false;
  };
  std::vector<Tensor> inputs_, outputs_;
  size_t weights_begin_ = 0, weights_bytes_ = 0;
  std::vector<std::unique_ptr<kernels::Launcher>> launchers_;  // by index; null: left out
  int launches_ = 0;                                           // of a graph
  int64_t prepared_ = 0;                                       // how many problems; part of the graphs' keys
};

}  // namespace tenon::plan
