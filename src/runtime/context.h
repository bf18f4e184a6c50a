// One stream of requests through an Executable: binds inputs, places intermediate values, runs the steps.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/arena.h"
#include "runtime/executable.h"
#include "runtime/inputs.h"
#include "tenon/runtime.h"

namespace tenon::runtime {

class Context {
 public:
  // Errors: not-found (a value to keep), invalid-argument (no such profile).
  static Result<std::unique_ptr<Context>> create(std::shared_ptr<const Executable> executable, const ContextOptions& options = {});

  Inputs& inputs() { return inputs_; }
  // Errors: not-found, bad-input (dtype).
  Status set_output(std::string_view name, const TensorView& buffer);
  void set_profiler(Profiler* profiler) { profiler_ = profiler; }

  // Errors: bad-input, out-of-memory, and the kernels' own with the step's name.
  Status run();

  // After a run. Errors: not-found, invalid-argument (no run was done).
  Result<TensorView> output(std::string_view name) const;
  Result<TensorView> packed_output(std::string_view name);
  Result<TensorView> kept(std::string_view name);

  const Executable& executable() const { return *executable_; }
  size_t arena_bytes() const;
  int graphs_recorded() const { return queue_ != nullptr ? queue_->recorded() : 0; }

 private:
  // What a region's arena on one device holds: values by their root, and one workspace per step that runs there.
  struct Side {
    std::vector<int> roots;  // one arena item each, then the steps' workspaces
    std::vector<int> steps;
    Arena arena;
    const Layout* layout = nullptr;  // of the run in progress
  };
  // Host and device; the second is empty without a GPU.
  struct Region {
    std::vector<Side> sides;
    bool sized = false;
    std::vector<int64_t> symbols;  // that its sizes and layouts are for, once it is sized
  };

  Context(std::shared_ptr<const Executable> executable, const ContextOptions& options);
  void resolve_roots(const std::vector<int>& kept);
  void make_regions(const std::vector<int>& kept);
  void lay_out_arguments();

  const engine::Plan& plan() const { return executable_->plan(); }
  const engine::PlanValue& value(int id) const { return plan().values[static_cast<size_t>(id)]; }
  // On a GPU, sizes that depend on data are rounded up, so that one recorded graph serves a range of them.
  const std::vector<int64_t>& sizes(engine::Place place) const { return place == engine::Place::kHost ? sizes_ : device_sizes_; }
  std::span<const int64_t> shape(int id) const {
    return {sizes(value(id).place).data() + executable_->shape_of(id), value(id).type.shape.size()};
  }
  TensorView view(int id) const;

  Status run_region(int region);
  Status bind_data_symbols(int region);
  Status evaluate(int region, std::span<const int64_t> symbols);
  void measure_items(int region, std::vector<std::vector<size_t>>& bytes);
  void round_up_symbols(int64_t buckets);
  Status size_region(int region);
  Status place(int region);
  void point_arguments(int region);
  const PreparedKernel& choose(int step, int64_t tokens) const;
  ops::RunArgs arguments(int step) const;
  Status launch(int step, int64_t tokens);
  Status stage_inputs();
  Status run_steps(int begin, int end, int64_t tokens);
  std::set<std::string> sizes_of(int step) const;
  std::vector<size_t> symbols_of(int begin, int end) const;  // that the steps' sizes depend on
  std::pair<int, int> find_core(int begin, int end) const;
  Status run_on_gpu(int region, int begin, int end, int64_t tokens);
  void make_graph_key(int region, int begin, int end, int64_t tokens, std::span<const size_t> symbols);
  Status profile_step(int step, const PreparedKernel& kernel, const ops::RunArgs& args);
  Status copy_outputs();
  void find_steps_of_one_thread();
  void find_inputs_of_device();
  Status fetch_inputs();
  void point_uploads();
  void find_unneeded_downloads(bool outputs_on_device);
  void name_steps();
  void warm_up(const ContextOptions& options);
  Status warm_shape(const std::vector<std::vector<int64_t>>& shapes, bool all_buckets);
  Status run_until_warm();
  std::vector<std::vector<int64_t>> shapes_of(const engine::Profile& profile, bool largest) const;

  std::shared_ptr<const Executable> executable_;
  const size_t memory_limit_;
  Inputs inputs_;
  Profiler* profiler_ = nullptr;
  bool done_ = false;

  std::vector<int> root_;              // per value: whose memory it lies in; values kept are never overwritten
  std::vector<bool> is_kept_;          // per value
  std::vector<Region> regions_;
  // For the run in progress.
  std::vector<int64_t> symbols_, roomy_symbols_;
  std::vector<int64_t> sizes_, device_sizes_;  // of ShapeTable
  std::vector<size_t> bytes_;          // per value
  std::vector<void*> data_;            // per value
  std::vector<ops::TensorArg> args_;
  std::vector<ops::Sizes> attr_sizes_;
  std::vector<std::vector<size_t>> item_bytes_, roomy_bytes_;  // per side and arena item of the region in progress
  std::vector<void*> workspace_;       // per step
  std::vector<bool> alone_;            // per step: runs on the caller's thread alone
  std::vector<bool> skipped_;          // per step: downloads of outputs that are to stay on the device
  std::vector<int> output_values_;     // per output: its value, or the one on the device that its download would copy
  std::vector<TensorView> output_buffers_;
  std::vector<Buffer> packed_outputs_;
  std::unique_ptr<GpuQueue> queue_;    // null: no GPU
  std::vector<std::string> step_names_;  // for profilers; empty: there is none
  bool replays_graphs_ = true;
  int packed_rows_ = -1;  // the symbol that counts the rows of packed tokens on a GPU; -1: none
  std::vector<Buffer> staged_inputs_, fetched_inputs_;  // page-locked: for the device, from it
  std::vector<bool> read_by_device_, read_by_host_;  // of the inputs
  std::vector<std::pair<int, int>> uploads_;         // of inputs: the input, its copy on the device
  std::vector<int64_t> graph_key_;
  int64_t served_length_ = 0;  // Executable::served_length of this run
  bool keeps_values_ = false;
  // Of steps that run on the device together: the core, and what the sizes of all and of the core depend on.
  struct DeviceRun {
    int head = 0, tail = 0;
    std::vector<size_t> symbols, core_symbols;
  };
  std::map<int, DeviceRun> cores_;  // by the first step
  std::map<int, Buffer> kept_copies_;  // of values on the device
};

}  // namespace tenon::runtime
