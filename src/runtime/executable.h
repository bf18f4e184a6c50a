// An engine made ready to run: kernels prepared, sizes compiled, arguments laid out. Immutable, shared by contexts.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "engine/reader.h"
#include "kernels/kernel.h"
#include "runtime/gpu.h"
#include "runtime/shape_table.h"

namespace tenon::runtime {

// Where the arguments of a step stand in the flat arrays that each context has.
struct StepSlots {
  struct SizesSlot {
    std::string_view name;  // of the attribute
    size_t begin = 0, count = 0;  // in the array of sizes
  };
  size_t inputs = 0, outputs = 0;  // first TensorArg of each
  size_t attr_sizes = 0;           // first ops::Sizes
  std::vector<SizesSlot> attrs;
};

struct PreparedKernel {
  int64_t max_tokens = 0, max_length = 0;  // as engine::KernelChoice has them
  bool absorbs = false;
  std::unique_ptr<kernels::Launcher> launcher;
  const kernels::Kernel* kernel = nullptr;
};

class Executable {
 public:
  // Threads for an engine: `requested`, or TENON_THREADS, or all that the process may use.
  static std::shared_ptr<ThreadPool> make_pool(int requested);
  // `target`: as choose_plan has it. Errors: those of engine::EngineFile::open and choose_plan; engine-version when a kernel
  // is unknown here or has another version.
  static Result<std::shared_ptr<const Executable>> load(const std::string& path, std::shared_ptr<ThreadPool> pool,
                                                        std::string_view target = "auto");
  static Result<std::shared_ptr<const Executable>> prepare(std::shared_ptr<const engine::EngineFile> file, std::shared_ptr<ThreadPool> pool,
                                                           std::string_view target = "auto");

  const engine::EngineFile& file() const { return *file_; }
  int plan_index() const { return plan_; }  // of the file's, the one that runs here
  const engine::Plan& plan() const { return file_->plan(plan_); }
  const engine::PlanFacts& facts() const { return file_->facts(plan_); }
  ThreadPool& pool() const { return *pool_; }
  const GpuProgram* gpu() const { return gpu_.get(); }  // null: nothing runs on a GPU
  bool on_device(int step) const { return kernels_[static_cast<size_t>(step)].front().kernel->on_device(); }

  int find_input(std::string_view name) const;   // -1: none; likewise below
  int find_output(std::string_view name) const;
  int find_value(std::string_view name) const;
  // True the first time it is asked about this input: for messages that are to be said once per engine.
  bool first_time(int input) const { return !said_[static_cast<size_t>(input)].exchange(true); }

  const ShapeTable& shapes() const { return *shapes_; }
  // Where the shape of a value begins in the array of sizes.
  size_t shape_of(int value) const { return shape_begin_[static_cast<size_t>(value)]; }
  // Values whose shapes are evaluated when this region starts.
  std::span<const int> values_of(int region) const { return region_values_[static_cast<size_t>(region)]; }
  const StepSlots& slots(int step) const { return slots_[static_cast<size_t>(step)]; }
  std::span<const PreparedKernel> kernels(int step) const { return kernels_[static_cast<size_t>(step)]; }
  size_t tensor_args() const { return tensor_args_; }
  size_t sizes_args() const { return sizes_args_; }
  // Checks what inference assumed. Errors: bad-input, naming both sizes.
  Status check_equalities(int region, std::span<const int64_t> symbols) const;
  // The least KernelChoice::max_length of all that serve such a batch; 0: none does.
  int64_t served_length(std::span<const int64_t> symbols, int64_t tokens) const;
  // For choosing kernels; 0 when it is not known in this region.
  int64_t tokens(int region, std::span<const int64_t> symbols) const;
  int symbol_index(std::string_view name) const;  // -1: none
  // Upper bound of data symbol `symbol`, as far as it can be evaluated.
  int64_t symbol_bound(int symbol, std::span<const int64_t> symbols) const;

 private:
  struct Equality {
    DimProgram a, b;
    std::string text;
    int region = 0;
  };

  Executable() = default;
  Status prepare_shapes();
  Status prepare_steps();
  Status prepare_step(int step);
  Status check_places(const kernels::Kernel& kernel, const engine::PlanStep& step) const;
  Status check_packing(const kernels::Kernel& kernel, const kernels::Problem& problem, const engine::PlanStep& step) const;

  std::shared_ptr<const engine::EngineFile> file_;
  int plan_ = 0;
  std::shared_ptr<ThreadPool> pool_;
  std::unique_ptr<GpuProgram> gpu_;
  std::unique_ptr<ShapeTable> shapes_;
  std::vector<size_t> shape_begin_;
  std::vector<std::vector<int>> region_values_;
  std::vector<StepSlots> slots_;
  std::vector<std::vector<PreparedKernel>> kernels_;
  std::vector<Equality> equalities_;
  std::vector<DimProgram> bounds_;  // per symbol
  DimProgram tokens_, texts_, length_;
  std::vector<int64_t> max_lengths_;  // that kernels have, rising
  int tokens_region_ = 0;
  size_t tensor_args_ = 0, sizes_args_ = 0;
  mutable std::vector<std::atomic<bool>> said_;
};

}  // namespace tenon::runtime
