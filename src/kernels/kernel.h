// The one interface between the compiler, the runtime and the code that computes: reference, CPU, CUDA, plugins.
//
// Build time:  supports -> configs -> prepack (weights, once, into the engine).
// Load time:   prepare(problem, config) -> Launcher: attributes read, instruction set chosen, nothing left to decide.
// Run time:    Launcher::launch with pointers and concrete shapes; neither allocates nor synchronises.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/op_def.h"

namespace tenon::kernels {

using ir::Attrs;
using ir::Op;
using ir::Tensor;
using ir::TensorType;
using ops::RunArgs;

// One step as plain data: what is to be computed, on which types. Sizes may be symbolic. Made from an IR node at build time
// and from the plan at load time; the two are equal.
struct Problem {
  Op op{};
  Attrs attrs;
  std::vector<TensorType> inputs;     // shape and dtype as in the graph, also for packed weights
  std::vector<bool> present;          // present[i]: input i is given
  std::vector<bool> constant;         // constant[i]: input i is a weight
  std::vector<TensorType> outputs;
  // The step right ahead, where a kernel computes both (Kernel::absorbs); null: this step alone. RunArgs::inputs are then
  // the inputs and outputs of that step, whose outputs are not to be written, and behind them this step's own inputs.
  std::shared_ptr<const Problem> before;

  bool has(int i) const { return i < static_cast<int>(present.size()) && present[static_cast<size_t>(i)]; }
};

// Yes, or why not: "head_dim 80 is not a multiple of 16".
struct Support {
  std::string reason;  // empty: supported
  explicit operator bool() const { return reason.empty(); }
  static Support yes() { return {}; }
  static Support no(std::string why) { return {std::move(why)}; }
};

// One way to run a kernel. `text` is what the plan stores, logs print and the timing cache keys on: "rows=6,cols=64".
struct Config {
  std::string text;
  std::string numerics;  // order over K, split, instruction family: the token count may choose among equal tags only
  double cost = 0;       // estimated seconds at the profile's optimum; the least wins when nothing is timed
};

// Device code that a config needs: compiled when the engine is built, kept in it as machine code.
struct DeviceSource {
  std::string file;                  // "linear_sm90.cu": one of those that the binary carries (kernels/cuda)
  std::string entry;                 // the extern "C" kernel in it
  std::vector<std::string> defines;  // "TILE_M=128"

  // On one line; equal texts are equal code.
  std::string text() const;
};

class Launcher {
 public:
  virtual ~Launcher() = default;
  // Bytes of scratch for these concrete shapes (data pointers are null here).
  virtual size_t workspace(const RunArgs&, int threads) const {
    (void)threads;
    return 0;
  }
  // Errors: bad-input (an id out of range, a mask that is not 0/1), naming the row.
  virtual Status launch(const RunArgs& args) const = 0;
};

class CudaKernel;  // kernels/cuda/cuda_kernel.h

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual const CudaKernel* as_cuda() const { return nullptr; }
  bool on_device() const { return as_cuda() != nullptr; }  // reads and writes the memory of a GPU
  // Stable names, stored in engines: "cpu.linear.f32". The version changes when config texts or packed layouts change meaning.
  virtual std::string_view id() const = 0;
  virtual int version() const { return 1; }
  virtual Support supports(const Problem&) const = 0;
  // Best guess first; never empty for a supported problem.
  virtual std::vector<Config> configs(const Problem&) const { return {Config{}}; }
  // More of them, which call a library of others ("cublaslt") instead of code of Tenon's: for builds that allow it (--tactics).
  virtual std::vector<Config> library_configs(const Problem&, std::string_view library) const {
    (void)library;
    return {};
  }
  // The type of what the engine stores for constant input `index`, or nothing to store the tensor as it is. Known before the
  // weights are, so that an engine is laid out, and a foreign one checked, without computing them. The layout depends on the
  // problem, not on the machine at hand nor on the config, so that all configs and instruction sets share it.
  virtual std::optional<TensorType> packed_type(const Problem&, int index) const {
    (void)index;
    return std::nullopt;
  }
  // Where several configs serve: the one for this many rows on a GPU of so many multiprocessors. Its numerics may differ.
  virtual Config config_for(const Problem& problem, int64_t rows, int multiprocessors) const {
    (void)rows, (void)multiprocessors;
    return configs(problem).front();
  }
  // The bytes of packed_type, for the inputs that have one: then RunArgs::inputs[index].data points at them, with the shape
  // and dtype of the problem.
  virtual Result<Tensor> prepack(const Problem&, int index, const Tensor&) const {
    (void)index;
    return error(ErrorCode::kInternal, "{} packs no weights", id());
  }
  // The kernel whose step, right ahead of this kernel's and read by it alone, this one computes too, from the weights as that
  // one packs them; empty: none. The planner puts such kernels beside those that a step has.
  virtual std::string_view absorbs() const { return {}; }
  // True when launch reads its inputs only at the indices it writes: output 0 may then share the memory of input `index`.
  virtual bool in_place(const Problem&, int index) const {
    (void)index;
    return false;
  }
  virtual Result<std::unique_ptr<Launcher>> prepare(const Problem&, const Config&) const = 0;
};

// Candidates of a target in order of preference, closed by the reference kernel, which supports everything.
enum class Target { kReference, kCpu, kCuda };
std::span<const Kernel* const> kernel_list(Target target);
const Kernel* find_kernel(std::string_view id);

// One per folder.
const Kernel& reference_kernel();                 // kernels/reference
std::span<const Kernel* const> cpu_kernel_list();   // kernels/cpu
std::span<const Kernel* const> cuda_kernel_list();  // kernels/cuda

}  // namespace tenon::kernels
