// Ops that only move elements, of any type: movement.cu, unpack_tokens.cu.
#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "kernels/cpu/strided.h"
#include "kernels/cuda/device/grid_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

namespace tenon::kernels::cuda {
namespace {

// The widest unit of 1 to 16 bytes that divides all of these numbers of bytes (and addresses).
int common_unit(std::initializer_list<int64_t> bytes) {
  int64_t bits = 16;
  for (const int64_t b : bytes) bits |= b;
  return static_cast<int>(int64_t{1} << std::countr_zero(static_cast<uint64_t>(bits)));
}

int64_t address(const void* p) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p)); }

std::vector<int64_t> dense_strides(std::span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// Copies between strided views (strides in elements) over the grid `shape`.
struct View {
  std::byte* data = nullptr;
  std::vector<int64_t> strides;
};

Status copy_view(const Device& device, Function function, const RunArgs& run, std::span<const int64_t> shape,
                 const View& x, const View& y, DType dtype) {
  cpu::Broadcast grid(shape);
  const int64_t count = elements_in(shape, 0, static_cast<int>(shape.size()));
  if (count == 0) return {};
  if (count > INT32_MAX) return error(ErrorCode::kUnsupported, "a tensor of more than 2^31 - 1 elements");
  grid.add_view(x.strides);
  grid.add_view(y.strides);
  grid.merge_axes();
  const int last = grid.rank() - 1;
  const auto element = static_cast<int64_t>(dtype_size(dtype));
  CopyArgs args = {.x = x.data, .y = y.data, .unit = static_cast<int>(element), .rank = grid.rank()};
  // Neighbours in both move together.
  if (grid.step(0) == 1 && grid.step(1) == 1) {
    int64_t bytes = grid.columns() * element;
    for (int axis = 0; axis < last; ++axis) bytes |= grid.stride(0, axis) * element | grid.stride(1, axis) * element;
    args.unit = common_unit({bytes, address(x.data), address(y.data)});
  }
  const int64_t per_unit = args.unit / element;
  args.count = static_cast<unsigned>(count / per_unit);
  for (int axis = 0; axis <= last; ++axis) {
    const bool units = axis == last && per_unit > 1;  // its steps are 1 already
    args.sizes[axis] = divisor(units ? grid.size(axis) / per_unit : grid.size(axis));
    args.x_strides[axis] = units ? 1 : grid.stride(0, axis) / per_unit;
    args.y_strides[axis] = units ? 1 : grid.stride(1, axis) / per_unit;
  }
  return launch_with(device, function, run, launch_flat(args.count), args);
}

// What all of them are: of any dtype, one device source.
class MovementKernel : public CudaKernel {
 public:
  MovementKernel(std::string_view id, const char* entry) : id_(id), entry_(entry) {}
  std::string_view id() const final { return id_; }
  std::optional<DeviceSource> code(const Problem&, const Config&, int) const final {
    return DeviceSource{"movement.cu", entry_, {}};
  }

 private:
  std::string_view id_;
  const char* entry_;
};

// ---- transpose, expand, slice, tile, concat -------------------------------------------------------------------------------

class ViewKernel final : public MovementKernel {
 public:
  ViewKernel() : MovementKernel("cuda.copy_view", "copy_view") {}

  Support supports(const Problem& p) const override {
    if (p.op != Op::k_transpose && p.op != Op::k_expand && p.op != Op::k_slice &&
        p.op != Op::k_tile && p.op != Op::k_concat)
      return Support::no("another op");
    const int axes = p.outputs[0].rank() * (p.op == Op::k_tile ? 2 : 1);
    return axes <= kMostGridAxes ? Support::yes() : Support::no(fmt::format("more than {} axes", kMostGridAxes));
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    if (p.op == Op::k_concat) {
      const int axis = axis_from(p.attrs.integer("axis"), p.outputs[0].rank());
      return make_launcher(
          [axis, &device, function](const RunArgs& args) { return concat(device, function, args, axis); });
    }
    if (p.op == Op::k_tile)
      return make_launcher([&device, function](const RunArgs& args) { return tile(device, function, args); });
    return make_launcher([op = p.op, attrs = p.attrs, &device, function](const RunArgs& args) -> Status {
      const TensorArg y = args.output();
      TENON_ASSIGN(const View from, view_of(op, attrs, args));
      return copy_view(device, function, args, y.shape, from, {y.as<std::byte>(), dense_strides(y.shape)}, y.dtype);
    });
  }

 private:
  // x as it is read along y's axes.
  static Result<View> view_of(Op op, const Attrs& attrs, const RunArgs& args) {
    const TensorArg x = args.input(0), y = args.output();
    const std::vector<int64_t> dense = dense_strides(x.shape);
    View view{x.as<std::byte>(), std::vector<int64_t>(y.shape.size(), 0)};
    if (op == Op::k_transpose) {
      const std::vector<int64_t>& perm = attrs.integers("perm");
      for (size_t i = 0; i < perm.size(); ++i) view.strides[i] = dense[static_cast<size_t>(perm[i])];
    } else if (op == Op::k_expand) {
      const size_t added = y.shape.size() - x.shape.size();
      for (size_t i = 0; i < x.shape.size(); ++i) {
        if (x.shape[i] != 1 && x.shape[i] != y.shape[added + i])
          return error(ErrorCode::kBadInput, "the input does not fit the output's shape");
        view.strides[added + i] = x.shape[i] == 1 ? 0 : dense[i];
      }
    } else {
      view.strides = dense;
      const std::vector<int64_t>&axes = attrs.integers("axes"), &steps = attrs.integers("steps");
      const std::span<const int64_t> starts = args.size("starts");
      for (size_t i = 0; i < axes.size(); ++i) {
        const auto axis = static_cast<size_t>(axes[i]);
        const int64_t end = starts[i] + (y.shape[axis] - 1) * steps[i];
        if (y.shape[axis] > 0 && (std::min(starts[i], end) < 0 || std::max(starts[i], end) >= x.shape[axis])) {
          return error(ErrorCode::kBadInput, "slice from {} leaves axis {} of size {}", starts[i], axis, x.shape[axis]);
        }
        view.data += starts[i] * dense[axis] * static_cast<int64_t>(dtype_size(x.dtype));
        view.strides[axis] *= steps[i];
      }
    }
    return view;
  }

  // Each axis as two, (repeats, size): x stands still along the repeats.
  static Status tile(const Device& device, Function function, const RunArgs& args) {
    const TensorArg x = args.input(0), y = args.output();
    const std::vector<int64_t> dense = dense_strides(x.shape);
    std::vector<int64_t> shape, strides;
    for (size_t i = 0; i < x.shape.size(); ++i) {
      if (x.shape[i] == 0 ? y.shape[i] != 0 : y.shape[i] % x.shape[i] != 0)
        return error(ErrorCode::kBadInput, "the input does not fit the output's shape");
      shape.insert(shape.end(), {x.shape[i] == 0 ? 0 : y.shape[i] / x.shape[i], x.shape[i]});
      strides.insert(strides.end(), {0, dense[i]});
    }
    return copy_view(device, function, args, shape, {x.as<std::byte>(), strides},
                     {y.as<std::byte>(), dense_strides(shape)}, y.dtype);
  }

  static Status concat(const Device& device, Function function, const RunArgs& args, int axis) {
    const TensorArg y = args.output();
    const std::vector<int64_t> strides = dense_strides(y.shape);
    auto* to = y.as<std::byte>();
    int64_t column = 0;
    for (const TensorArg& x : args.inputs) {
      for (int i = 0; i < y.rank(); ++i)
        if (i == axis ? column + x.dim(i) > y.dim(i) : x.dim(i) != y.dim(i))
          return error(ErrorCode::kBadInput, "an input does not fit the output's shape");
      TENON_TRY(copy_view(device, function, args, x.shape, {x.as<std::byte>(), dense_strides(x.shape)}, {to, strides},
                          y.dtype));
      to += x.dim(axis) * strides[static_cast<size_t>(axis)] * static_cast<int64_t>(dtype_size(y.dtype));
      column += x.dim(axis);
    }
    return {};
  }
};

// ---- gather, gather_nd ----------------------------------------------------------------------------------------------

class GatherKernel final : public MovementKernel {
 public:
  GatherKernel() : MovementKernel("cuda.gather", "gather") {}

  Support supports(const Problem& p) const override {
    if (p.op != Op::k_gather && p.op != Op::k_gather_nd) return Support::no("another op");
    const DType indices = p.inputs[1].dtype;
    if (indices != DType::kI32 && indices != DType::kI64)
      return Support::no(fmt::format("indices are {}", dtype_name(indices)));
    if (p.op == Op::k_gather_nd && p.inputs[1].shape.back().value() > kMostGridAxes)
      return Support::no(fmt::format("tuples of more than {} indices", kMostGridAxes));
    return Support::yes();
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    return make_launcher([op = p.op, attrs = p.attrs, &device, function](const RunArgs& run) -> Status {
      const TensorArg x = run.input(0), indices = run.input(1), y = run.output();
      if (y.numel() == 0) return {};
      if (y.numel() > INT32_MAX) return error(ErrorCode::kUnsupported, "a tensor of more than 2^31 - 1 elements");
      const std::vector<int64_t> strides = dense_strides(x.shape);
      // Axes of x: [0, begin) count matrices, [begin, end) are indexed, the rest is a row.
      const bool tuples = op == Op::k_gather_nd;
      const int begin =
          tuples ? static_cast<int>(attrs.integer("batch_dims")) : axis_from(attrs.integer("axis"), x.rank());
      const int end = begin + (tuples ? static_cast<int>(indices.dim(-1)) : 1);
      const auto element = static_cast<int64_t>(dtype_size(x.dtype));
      const int64_t width = elements_in(x.shape, end, x.rank());
      GatherArgs args = {.x = x.data, .indices = indices.data, .y = y.data};
      args.unit = common_unit({width * element, address(x.data), address(y.data)});
      // A row is a whole number of units and so is every stride, which is a multiple of it.
      args.width = divisor(width * element / args.unit);
      args.count = static_cast<unsigned>(y.numel() * element / args.unit);
      args.group = divisor(tuples ? elements_in(indices.shape, begin, indices.rank() - 1) : indices.numel());
      args.matrix_stride = elements_in(x.shape, begin, x.rank()) * element / args.unit;
      args.depth = end - begin;
      args.wide = indices.dtype == DType::kI64;
      args.shared_indices = !tuples;
      for (int i = begin; i < end; ++i) {
        args.sizes[i - begin] = x.dim(i);
        args.strides[i - begin] = strides[static_cast<size_t>(i)] * element / args.unit;
      }
      return launch_with(device, function, run, launch_flat(args.count), args);
    });
  }
};

// ---- gather_elements ------------------------------------------------------------------------------------------------

class GatherElementsKernel final : public MovementKernel {
 public:
  GatherElementsKernel() : MovementKernel("cuda.gather_elements", "gather_elements") {}

  Support supports(const Problem& p) const override {
    if (p.op != Op::k_gather_elements) return Support::no("another op");
    const DType indices = p.inputs[1].dtype;
    if (indices != DType::kI32 && indices != DType::kI64)
      return Support::no(fmt::format("indices are {}", dtype_name(indices)));
    if (dtype_size(p.inputs[0].dtype) > 8) return Support::no(fmt::format("data is {}", dtype_name(p.inputs[0].dtype)));
    const int axes = p.outputs[0].rank();
    return axes <= kMostGridAxes ? Support::yes() : Support::no(fmt::format("more than {} axes", kMostGridAxes));
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    return make_launcher([attr = p.attrs.integer("axis"), &device, function](const RunArgs& run) -> Status {
      const TensorArg x = run.input(0), indices = run.input(1), y = run.output();
      if (y.numel() == 0) return {};
      if (y.numel() > INT32_MAX) return error(ErrorCode::kUnsupported, "a tensor of more than 2^31 - 1 elements");
      const int axis = axis_from(attr, x.rank());
      std::vector<int64_t> strides = dense_strides(x.shape);
      GatherElementsArgs args = {.x = x.data,
                                 .indices = indices.data,
                                 .y = y.data,
                                 .element = static_cast<int>(dtype_size(x.dtype)),
                                 .count = static_cast<unsigned>(y.numel()),
                                 .wide = indices.dtype == DType::kI64,
                                 .size = x.dim(axis),
                                 .stride = std::exchange(strides[static_cast<size_t>(axis)], 0)};
      for (int i = 0; i < x.rank(); ++i)
        if (i == axis ? x.dim(i) == 0 : y.dim(i) > x.dim(i))
          return error(ErrorCode::kBadInput, "the indices do not fit the data's shape");
      cpu::Broadcast grid(y.shape);
      grid.add_view(strides);
      grid.merge_axes();
      args.rank = grid.rank();
      for (int i = 0; i < args.rank; ++i) {
        args.sizes[i] = divisor(grid.size(i));
        args.strides[i] = grid.stride(0, i);
      }
      return launch_with(device, function, run, launch_flat(args.count), args);
    });
  }
};

// ---- unpack_tokens --------------------------------------------------------------------------------------------------

class UnpackKernel final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.unpack_tokens"; }
  int version() const override { return 2; }
  Support supports(const Problem& p) const override {
    if (p.op != Op::k_unpack_tokens) return Support::no("another op");
    for (const DType dtype : {p.inputs[0].dtype, p.outputs[0].dtype})
      if (makes_floats(p) && dtype == DType::kF64) return Support::no("converts no f64");
    if (p.outputs.size() > UnpackArgs::kMostOutputs) return Support::no("too many columns at once");
    return Support::yes();
  }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    const bool floats = makes_floats(p);
    const auto name = [&](const TensorType& t) { return floats ? dtype_name(t.dtype) : "f32"; };
    return DeviceSource{.file = "unpack_tokens.cu",
                        .entry = floats ? "unpack_floats" : "unpack_tokens",
                        .defines = {fmt::format("X={}", name(p.inputs[0])), fmt::format("Y={}", name(p.outputs[0])),
                                    fmt::format("WIDE={}", floats ? elements_at_once(p) : 1),
                                    fmt::format("OUTPUTS={}", p.outputs.size())}};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    const bool floats = makes_floats(p);
    const int64_t column = p.attrs.integer("column"), wide = elements_at_once(p);
    return make_launcher([=, &device](const RunArgs& run) -> Status {
      const TensorArg x = run.input(0), y = run.output();
      if (y.numel() == 0) return {};
      if (y.numel() > INT32_MAX) return error(ErrorCode::kUnsupported, "a tensor of more than 2^31 - 1 elements");
      const int64_t row_size = elements_in(x.shape, 1, x.rank()), size = static_cast<int64_t>(dtype_size(x.dtype));
      UnpackArgs args = {.x = x.data,
                         .gather = run.input(1).as<const int>(),
                         .row_offsets = run.input(2).as<const int>(),
                         .key_begin = run.input(3).as<const int>(),
                         .seq = divisor(y.dim(1)),
                         .rows = static_cast<int>(x.dim(0))};
      for (size_t i = 0; i < run.outputs.size(); ++i) args.y[i] = run.outputs[i].data;
      if (floats) {
        args.width = divisor(column < 0 ? row_size / wide : 1);
        args.x_width = row_size / wide;
        args.column = static_cast<int>(std::max<int64_t>(column, 0));
      } else {
        args.unit = common_unit({row_size * size, address(x.data), address(y.data)});
        args.x_width = row_size * size / args.unit;
        args.width = divisor(args.x_width);
      }
      args.count = static_cast<unsigned>(y.dim(0) * y.dim(1)) * args.width.value;
      return launch_with(device, function, run, launch_flat(args.count), args);
    });
  }

 private:
  // Of rows whose size is known: as many as 16 bytes hold of the smaller type.
  static int elements_at_once(const Problem& p) {
    constexpr int64_t kMost = 8;
    int64_t row_size = 1;
    for (size_t axis = 1; axis < p.inputs[0].shape.size(); ++axis) {
      const ir::Dim& d = p.inputs[0].shape[axis];
      row_size *= d.is_const() ? std::gcd(d.value(), kMost) : 1;
    }
    return p.attrs.integer("column") >= 0 ? 1 : static_cast<int>(std::gcd(row_size, kMost));
  }
  // One column, or another type.
  static bool makes_floats(const Problem& p) {
    return p.attrs.integer("column") >= 0 || p.inputs[0].dtype != p.outputs[0].dtype;
  }
};

}  // namespace

const Kernel& view_kernel() {
  static const ViewKernel kernel;
  return kernel;
}

const Kernel& gather_kernel() {
  static const GatherKernel kernel;
  return kernel;
}

const Kernel& gather_elements_kernel() {
  static const GatherElementsKernel kernel;
  return kernel;
}

const Kernel& unpack_tokens_kernel() {
  static const UnpackKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
