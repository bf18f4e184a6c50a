// What the CPU kernels share: the instruction set is chosen when a launcher is made, loops run on the pool where they
// pay.
#pragma once

#include <algorithm>
#include <utility>

#include "kernels/cpu/blocking.h"
#include "kernels/cpu/vector_code.h"
#include "kernels/kernel.h"

namespace tenon::kernels::cpu {

using ops::TensorArg;

class CpuKernel : public Kernel {
 public:
  Result<std::unique_ptr<Launcher>> prepare(const Problem& problem, const Config& config) const final {
    return prepare_for(problem, config, chosen_isa());
  }
  // As prepare, for an instruction set that is available. Errors: unsupported, with the reason of `supports`;
  // engine-version, for a config that the kernel does not have.
  Result<std::unique_ptr<Launcher>> prepare_for(const Problem& problem, const Config& config, Isa isa) const;

 protected:
  virtual std::unique_ptr<Launcher> make_launcher(const Problem&, const Config&, const VectorCode&) const = 0;
};

// What a config of `configs` says.
inline Blocking blocking_of(const Config& config) { return Blocking::parse(config.text).value_or(Blocking{}); }

// True when input i is a weight.
inline bool is_constant(const Problem& problem, int i) {
  return i < static_cast<int>(problem.constant.size()) && problem.constant[static_cast<size_t>(i)];
}

// Yes when every input and output that is present is of this type; otherwise no, naming the first that is not.
Support all_of(const Problem& problem, DType type);
inline Support all_f32(const Problem& problem) { return all_of(problem, DType::kF32); }

// A kernel that met bad data lets the op's reference say what is wrong, so that both use the same words.
Status reference_error(Op op, const Attrs& attrs, const RunArgs& args);

// body(begin, end, thread) over [0, count): on the pool when the elements touched are worth waking it, else right here.
template <class Body>
void for_range(ThreadPool* pool, int64_t count, int64_t elements, Body&& body) {
  constexpr int64_t kWorthwhile = 16384;  // about 5 us of memory-bound work
  if (pool == nullptr || elements < kWorthwhile) {
    if (count > 0) body(int64_t{0}, count, 0);
    return;
  }
  pool->parallel_for(count, std::forward<Body>(body));
}

// body(Tasks&, thread) on every thread of the pool (ThreadPool::share).
template <class Body>
void share_tasks(ThreadPool* pool, int64_t count, Body&& body) {
  if (pool != nullptr) return pool->share(count, std::forward<Body>(body));
  Tasks all(count);
  if (count > 0) body(all, 0);
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Floats rounded up to whole cache lines.
constexpr int64_t whole_lines(int64_t floats) { return ceil_div(floats, 16) * 16; }

// The product of the sizes of axes [begin, end).
inline int64_t size_product(std::span<const int64_t> shape, int begin, int end) {
  int64_t n = 1;
  for (int i = begin; i < end; ++i) n *= shape[static_cast<size_t>(i)];
  return n;
}

// An axis attribute as an index into a shape of `rank` axes.
inline int axis_of(const Attrs& attrs, int rank) {
  const int64_t axis = attrs.integer("axis");
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace tenon::kernels::cpu
