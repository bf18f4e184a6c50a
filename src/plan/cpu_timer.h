// Times configs on the CPU at hand, as a model would run them: on all its threads, on random data, each launch with the
// next weights out of more than the caches hold.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "plan/autotuner.h"

namespace tenon::plan {

// Processor, instruction set and threads: "AMD EPYC 9B45 (avx512_bf16), 2 threads".
Machine cpu_at_hand();

class CpuTimer final : public ConfigTimer {
 public:
  explicit CpuTimer(const Machine& machine) : machine_(machine), pool_(machine.multiprocessors) {}

  std::string declines(const kernels::Problem& problem) const override;
  Status compile(std::span<const Work>, const std::function<void(double)>&) override { return {}; }
  Result<std::vector<std::string>> prepare(const ConfigProblem& problem, int64_t rows,
                                           std::span<const kernels::Config> configs) override;
  Result<double> seconds(size_t index) override;

 private:
  struct Input {
    std::vector<ir::Tensor> sets;  // a weight has several of the same content; others one
    std::vector<int64_t> shape;    // as in the problem, also for packed weights
    DType dtype{};
  };
  Result<Input> weight(const ConfigProblem& problem, int index) const;
  // Of the next launch; valid until the next call.
  ops::RunArgs arguments(std::byte* workspace);

  Machine machine_;
  ThreadPool pool_;

  // Of the problem that was prepared last.
  const ConfigProblem* weights_of_ = nullptr;
  std::vector<Input> inputs_;
  std::vector<ir::Tensor> outputs_;
  std::vector<std::unique_ptr<kernels::Launcher>> launchers_;  // by index; null: left out
  std::unique_ptr<std::byte, void (*)(void*)> workspace_{nullptr, nullptr};
  std::vector<ops::TensorArg> in_, out_;
  size_t launched_ = 0;
};

}  // namespace tenon::plan
