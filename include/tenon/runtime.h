// Running engines: the public face of src/runtime.
//
//   tenon::Runtime runtime;
//   tenon::Engine engine = runtime.load_engine("model.tenon");
//   tenon::ExecutionContext context = engine.create_execution_context();
//   context.set_input("input_ids", {tenon::DType::kI64, {1, 128}, ids});
//   context.set_input("attention_mask", {tenon::DType::kI64, {1, 128}, mask});
//   context.execute();
//   tenon::TensorView y = context.output("last_hidden_state");
//
// Errors are thrown as tenon::Error (tenon/error.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/error.h"
#include "tenon/types.h"

namespace tenon {

struct RuntimeOptions {
  int threads = 0;  // of the pool that all engines of a Runtime share, the caller's own included; 0: TENON_THREADS, or all
  // What engines run on that were built for several targets: "auto", this machine's GPU if they have code for it, else the CPU;
  // "cuda", "cpu", or a target by name, such as "sm_80".
  std::string target = "auto";
  // Libraries of operators (tenon/plugin.h) that engines need. Loaded once per process. Throws not-found, plugin.
  std::vector<std::string> plugins = {};
};

// What a tensor of an engine is called and looks like.
struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;     // -1 where the size is chosen at run time
  std::vector<std::string> axes;  // the same with symbols: "batch", "seq", "768"
  // Inputs only: "input_ids", "attention_mask", "token_type_ids", "position_ids", or empty when the model did not tell.
  std::string role;
  int64_t limit = 0;      // inputs that hold indices: values must be below this; 0: no index
  bool optional = false;  // inputs that may be left out: masks become ones, token types zeros, positions 0, 1, 2 …
};

// Sizes that an engine was built for, per input: every axis must lie in [min, max].
struct ProfileInfo {
  struct Range {
    std::string input;
    std::vector<int64_t> min, opt, max;
  };
  std::vector<Range> ranges;
};

// Told about every step of a run as soon as it is done.
class Profiler {
 public:
  virtual ~Profiler() = default;
  virtual void step(std::string_view name, std::string_view kernel, double seconds) = 0;
};

struct ContextOptions {
  // Refuse to run when an optional input is left out; otherwise its default is used, and said once.
  bool strict = false;
  // Which profile to hold the inputs to; -1: any that fits. Engines without profiles take all sizes.
  int profile = -1;
  // Intermediate values (Engine::value_names) whose contents can be read after a run.
  std::vector<std::string> keep;
  // Bytes of intermediate memory that a run may need; 0: as much as the machine has.
  size_t memory_limit = 0;
  // What is run on zeros when the context is made, so that the first requests on a GPU neither allocate nor record anything:
  // nothing; the profile's usual (opt) sizes, of every profile where `profile` is -1; or also the largest sizes, and of both
  // every count of tokens that a mask may leave, which takes a second or so. Engines without profiles have nothing to run.
  enum class Warm { kNone, kOptimum, kAll };
  Warm warm = Warm::kOptimum;
  // Leave outputs that a GPU computed in its memory: output() tells where, set_output() takes buffers there.
  bool outputs_on_device = false;
};

namespace runtime {
class Executable;
class Context;
}  // namespace runtime

// One stream of requests: inputs, intermediate memory and outputs. Not for use by two threads at once; several contexts of
// an engine run side by side and give the same results, bit for bit.
class ExecutionContext {
 public:
  ExecutionContext(ExecutionContext&&) noexcept;
  ExecutionContext& operator=(ExecutionContext&&) noexcept;
  ~ExecutionContext();

  // Gives an input; `tensor.data` is read by execute() and must live until then. Inputs stay set from run to run. They
  // may be in the memory of the engine's GPU (TensorView::on_device), at 16 bytes' alignment and complete before execute():
  // floats are read there, ids and masks are fetched first, since the host checks and packs by them.
  // int32 is taken where int64 is expected and the other way round, and converted (values that do not fit are refused).
  // Throws bad-input: unknown name, wrong dtype or rank. Sizes are checked by execute(), when all are known.
  void set_input(std::string_view name, const TensorView& tensor);
  // Rows without padding: `tensor` is [tokens, …] where the input is [batch, seq, …], and row_offsets (batch + 1 rising
  // numbers, from 0 to tokens) says which rows are whose. The mask is made from the offsets.
  void set_packed_input(std::string_view name, const TensorView& tensor);
  void set_row_offsets(std::span<const int32_t> row_offsets);
  // Forgets all inputs and row offsets.
  void clear_inputs();
  // Where execute() shall copy an output to, in host memory or on the engine's GPU; its shape must be the one that the inputs
  // give. data = nullptr: take it back.
  void set_output(std::string_view name, const TensorView& buffer);

  // Runs the engine, from inputs to outputs. Throws bad-input (a missing input, sizes that contradict each other or no
  // profile allows, an id out of range: the message names input, row and column), out-of-memory.
  // Once a run of at least these sizes was done, it allocates no memory.
  void execute();

  // A result of the last run, in memory of the context: valid until the next. Throws not-found, invalid-argument (no run).
  TensorView output(std::string_view name) const;
  // The same without padding, [tokens, …], rows as in the row offsets that the inputs were given with.
  TensorView packed_output(std::string_view name);
  // An intermediate value that ContextOptions::keep names.
  TensorView kept(std::string_view name) const;

  void set_profiler(Profiler* profiler);  // null: none
  size_t arena_bytes() const;             // intermediate memory held now
  int graphs_recorded() const;            // on a GPU, since the context was made; a run that records takes longer

 private:
  friend class Engine;
  explicit ExecutionContext(std::unique_ptr<runtime::Context> impl);
  std::unique_ptr<runtime::Context> impl_;
};

// A model ready to run. Immutable and cheap to copy: copies share the weights, which are used in place in the mapped file.
class Engine {
 public:
  // Throws not-found, io, bad-engine (truncated, damaged, foreign), engine-version (also: nothing in it runs on this machine),
  // no-device, invalid-argument (not built for the target that was asked for). All messages name the file.
  static Engine load(const std::string& path, const RuntimeOptions& options = {});

  std::vector<TensorInfo> inputs() const;
  std::vector<TensorInfo> outputs() const;
  std::vector<ProfileInfo> profiles() const;
  // Names of the intermediate values that a context can keep.
  std::vector<std::string> value_names() const;
  // What it was built for: "sm_90", "cpu" …; and which of these runs here.
  std::vector<std::string> targets() const;
  const std::string& target() const;
  // Throws not-found (a value to keep), invalid-argument (a profile that the engine does not have).
  ExecutionContext create_execution_context(const ContextOptions& options = {}) const;

  // The engine as the library's other parts (tasks, tools) see it.
  const std::shared_ptr<const runtime::Executable>& executable() const { return impl_; }

 private:
  friend class Runtime;
  explicit Engine(std::shared_ptr<const runtime::Executable> impl);
  std::shared_ptr<const runtime::Executable> impl_;
};

class ThreadPool;

// Engines loaded through one Runtime share its threads.
class Runtime {
 public:
  explicit Runtime(const RuntimeOptions& options = {});
  ~Runtime();
  // As Engine::load.
  Engine load_engine(const std::string& path) const;
  int threads() const;

 private:
  std::shared_ptr<ThreadPool> pool_;
  std::string target_;
};

}  // namespace tenon
