// What the compiler knows about an operator: one OpDef per op, defined in src/ops/<op>.cc (families that differ only in a
// scalar function share a file), collected in ops/op_table.cc through ir/op_list.inc.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "ir/graph.h"

namespace tenon::ops {

using ir::Attrs;
using ir::AttrValue;
using ir::Dim;
using ir::KnownDims;
using ir::Op;
using ir::Shape;
using ir::Tensor;
using ir::TensorType;

// ---- Types of a run --------------------------------------------------------------------------------------------------

// A dense row-major tensor handed to a reference loop or a kernel. data is null for an absent optional input.
struct TensorArg {
  DType dtype = DType::kF32;
  std::span<const int64_t> shape;
  void* data = nullptr;

  explicit operator bool() const { return data != nullptr; }
  template <class T>
  T* as() const { return static_cast<T*>(data); }
  int64_t dim(int i) const { return shape[static_cast<size_t>(i < 0 ? i + static_cast<int>(shape.size()) : i)]; }
  int rank() const { return static_cast<int>(shape.size()); }
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
};

// An attribute of kind Shape, evaluated for this run.
struct Sizes {
  std::string_view name;
  std::span<const int64_t> values;
};

struct RunArgs {
  std::span<const TensorArg> inputs;
  std::span<const TensorArg> outputs;  // allocated by the caller with the inferred shapes
  std::span<const Sizes> sizes;        // one entry per attribute of kind Shape
  void* workspace = nullptr;           // as many bytes as the kernel asked for, 64-byte aligned
  ThreadPool* pool = nullptr;          // null: run on the calling thread
  bool backwards = false;              // kernels may begin with the last rows: those that the step before made last are in the cache
  void* stream = nullptr;              // of a GPU: where kernels of kernels/cuda enqueue; pointers above are then device pointers

  TensorArg input(int i) const { return i < static_cast<int>(inputs.size()) ? inputs[static_cast<size_t>(i)] : TensorArg{}; }
  const TensorArg& output(int i = 0) const { return outputs[static_cast<size_t>(i)]; }
  std::span<const int64_t> size(std::string_view name) const {
    for (const Sizes& s : sizes)
      if (s.name == name) return s.values;
    return {};
  }
};

// ---- Shape inference -------------------------------------------------------------------------------------------------

class InferContext {
 public:
  struct Input {
    const TensorType* type = nullptr;  // null: absent
    const KnownDims* known = nullptr;  // contents of a small integer tensor, when known
    const Tensor* constant = nullptr;  // the tensor of a constant node
  };
  InferContext(const Attrs& node_attrs, std::vector<Input> inputs) : attrs(node_attrs), inputs_(std::move(inputs)) {}

  const Attrs& attrs;
  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  bool has(int i) const { return i < num_inputs() && inputs_[static_cast<size_t>(i)].type != nullptr; }
  const TensorType& type(int i) const { return *inputs_[static_cast<size_t>(i)].type; }
  const Shape& shape(int i) const { return type(i).shape; }
  DType dtype(int i) const { return type(i).dtype; }
  int rank(int i) const { return type(i).rank(); }
  const KnownDims* known(int i) const { return inputs_[static_cast<size_t>(i)].known; }

  // Outputs are added in order; `known` may accompany a small integer output.
  Status output(DType dtype, Shape shape, std::optional<KnownDims> known = std::nullopt) {
    types.push_back({dtype, std::move(shape)});
    knowns.push_back(std::move(known));
    return {};
  }
  // An axis attribute in [-rank, rank) as one in [0, rank). Errors: bad-model.
  Result<int> axis(int64_t axis, int rank) const;
  // The sizes of two broadcast axes. Two different symbols are taken to be equal and the assumption is recorded.
  Result<Dim> broadcast(const Dim& a, const Dim& b);
  Result<Shape> broadcast(const Shape& a, const Shape& b);
  // Requires a == b, recording an assumption as broadcast does.
  Result<Dim> same(const Dim& a, const Dim& b);

  std::vector<TensorType> types;
  std::vector<std::optional<KnownDims>> knowns;
  std::vector<std::pair<Dim, Dim>> assumed_equal;

 private:
  std::vector<Input> inputs_;
};

// Known contents are kept up to this many elements.
inline constexpr int64_t kMaxKnown = 1024;

// ---- Definitions -----------------------------------------------------------------------------------------------------

enum class Arity { kRequired, kOptional, kVariadic /* last only: any number, at least one */ };

struct InputDef {
  const char* name;
  Arity arity = Arity::kRequired;
};

struct AttrDef {
  const char* name;
  AttrValue fallback;     // gives the kind, and the value where the attribute is left out
  bool required = false;
  const char* help = "";
};

// How an op relates to its input's rows; what padding removal and pointwise fusion need to know.
enum class Locality {
  kElementwise,  // every output element depends on the input elements at its own index (with broadcasting)
  kRow,          // every output row depends on the same row: the last axis is mixed, leading axes are not
  kOther,
};

struct OpDef {
  Op op{};
  std::string_view summary;  // the formula and the shapes, e.g. "y = x W + bias; x [..., K], w [K, N] -> [..., N]"
  std::vector<InputDef> inputs;
  std::vector<const char*> outputs = {"y"};
  std::vector<AttrDef> attrs = {};
  Locality locality = Locality::kOther;
  bool commutative = false;

  // Output types (and known contents) from input types and attributes. Errors: bad-model, without the node's name, which the
  // caller adds.
  Status (*infer)(InferContext&) = nullptr;
  // Floating-point operations for concrete shapes; null: none worth counting.
  double (*flops)(const Attrs&, std::span<const TensorArg> inputs, std::span<const TensorArg> outputs) = nullptr;
  // The plain loop that defines the op: slow, obvious, correct, any supported dtype. Errors: bad-input (out-of-range index,
  // mask that is not 0/1, named by its row), unsupported (dtype).
  Status (*reference)(const Attrs&, const RunArgs&) = nullptr;
};

// The definition of an op. Never fails: every op of op_list.inc has one.
const OpDef& op_def(Op op);

// The interface of src/ops/*.cc towards the table: one function per op.
#define TENON_OP(name) OpDef define_##name();
#include "ir/op_list.inc"
#undef TENON_OP

}  // namespace tenon::ops
