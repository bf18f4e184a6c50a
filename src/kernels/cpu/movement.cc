// Ops that only move elements, of any type: gather, transpose, expand.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/strided.h"

namespace tenon::kernels::cpu {
namespace {

// ---- gather: y[o, j, i] = x[o, index[j], i]
// ----------------------------------------------------------------------------

class GatherLauncher final : public Launcher {
 public:
  GatherLauncher(const Problem& problem, const VectorCode& code) : attrs_(problem.attrs), code_(code) {}

  // Runs of indices, where they are used for more than one row.
  size_t workspace(const RunArgs& args, int) const override {
    const bool is_outermost = size_product(args.input(0).shape, 0, axis_of(attrs_, args.input(0).rank())) <= 1;
    return is_outermost ? 0 : static_cast<size_t>(args.input(1).numel()) * sizeof(Run);
  }

  Status launch(const RunArgs& args) const override {
    const bool wide = args.input(1).dtype == DType::kI64;
    return wide ? gather<int64_t>(args) : gather<int32_t>(args);
  }

 private:
  template <class Index>
  Status gather(const RunArgs& args) const {
    const TensorArg x = args.input(0), y = args.output();
    if (y.numel() == 0) return {};
    const int axis = axis_of(attrs_, x.rank());
    const int64_t size = x.dim(axis), count = args.input(1).numel();
    const auto* indices = args.input(1).as<const Index>();
    const int64_t outer = size_product(x.shape, 0, axis);
    const int64_t bytes = size_product(x.shape, axis + 1, x.rank()) * static_cast<int64_t>(dtype_size(x.dtype));
    if (outer > 1) {
      auto* runs = static_cast<Run*>(args.workspace);
      const int64_t found = find_runs(indices, count, size, runs);
      if (found < 0) return reference_error(Op::k_gather, attrs_, args);
      for_range(args.pool, outer, y.numel(), [&](int64_t begin, int64_t end, int) {
        for (int64_t o = begin; o < end; ++o)
          copy_runs({runs, static_cast<size_t>(found)}, bytes, x.as<const std::byte>() + o * size * bytes,
                    y.as<std::byte>() + o * count * bytes);
      });
      return {};
    }
    std::atomic<bool> inside = true;  // of -size … size - 1 are all indices
    for_range(args.pool, count, y.numel(), [&](int64_t begin, int64_t end, int) {
      if (!gather_range(bytes, indices, size, begin, end, x.as<const std::byte>(), y.as<std::byte>())) inside = false;
    });
    return inside ? Status() : reference_error(Op::k_gather, attrs_, args);
  }

  // Neighbours that stay neighbours.
  struct Run {
    int64_t from, count;
  };

  // How many there are; -1: an index is out of range.
  template <class Index>
  static int64_t find_runs(const Index* indices, int64_t count, int64_t size, Run* runs) {
    int64_t found = 0;
    for (int64_t j = 0; j < count; ++j) {
      if (indices[j] < -size || indices[j] >= size) return -1;
      const int64_t from = indices[j] < 0 ? indices[j] + size : indices[j];
      if (j > 0 && runs[found - 1].from + runs[found - 1].count == from) {
        ++runs[found - 1].count;
      } else {
        runs[found++] = {from, 1};
      }
    }
    return found;
  }

  static void copy_runs(std::span<const Run> runs, int64_t bytes, const std::byte* from, std::byte* to) {
    for (const Run& run : runs) {
      std::memcpy(to, from + run.from * bytes, static_cast<size_t>(run.count * bytes));
      to += run.count * bytes;
    }
  }

  // False: an index is out of range.
  template <class Index>
  bool gather_range(int64_t bytes, const Index* indices, int64_t size, int64_t begin, int64_t end,
                    const std::byte* from, std::byte* to) const {
    switch (bytes) {  // single elements, such as ids
      case 8:
        return gather_elements<8>(indices, size, begin, end, from, to);
      case 4:
        return gather_elements<4>(indices, size, begin, end, from, to);
      default:
        for (int64_t j = begin; j < end; ++j) {
          if (indices[j] < -size || indices[j] >= size) return false;
          const int64_t row = indices[j] < 0 ? indices[j] + size : indices[j];
          std::memcpy(to + j * bytes, from + row * bytes, static_cast<size_t>(bytes));
        }
        return true;
    }
  }

  // The rows of a packed batch, i32, follow each other nearly always: whole runs where they do, else a move each.
  template <int kBytes, class Index>
  bool gather_elements(const Index* indices, int64_t size, int64_t begin, int64_t end, const std::byte* from,
                       std::byte* to) const {
    constexpr int64_t kBlock = 32;
    for (int64_t j = begin, next = j; j < end; j = next) {
      int64_t run = 0;
      if constexpr (std::is_same_v<Index, int32_t>) run = code_.run_length(indices + j, end - j);
      if (run >= kBlock && indices[j] >= 0) {
        if (run > size - indices[j]) return false;
        std::memcpy(to + j * kBytes, from + indices[j] * kBytes, static_cast<size_t>(run * kBytes));
        next = j + run;
        continue;
      }
      next = std::min(j + kBlock, end);
      for (int64_t i = j; i < next; ++i) {
        if (indices[i] < -size || indices[i] >= size) return false;
        std::memcpy(to + i * kBytes, from + (indices[i] < 0 ? indices[i] + size : indices[i]) * kBytes, kBytes);
      }
    }
    return true;
  }

  Attrs attrs_;
  const VectorCode& code_;
};

class GatherKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.gather"; }
  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_gather) return Support::no("computes gather only");
    const DType indices = problem.inputs[1].dtype;
    if (indices != DType::kI32 && indices != DType::kI64) return Support::no("indices are neither i32 nor i64");
    return Support::yes();
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    return std::make_unique<GatherLauncher>(problem, code);
  }
};

// ---- transpose and expand: a strided view of x, made dense
// -------------------------------------------------------------

class CopyLauncher final : public Launcher {
 public:
  explicit CopyLauncher(const Problem& problem)
      : perm_(problem.op == Op::k_transpose ? problem.attrs.integers("perm") : std::vector<int64_t>{}) {}

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(0), y = args.output();
    Broadcast grid(y.shape);
    if (perm_.empty()) {
      if (!grid.add(x.shape)) return error(ErrorCode::kBadInput, "the input does not fit the output's shape");
    } else {
      int64_t strides[kMostAxes] = {}, permuted[kMostAxes] = {};
      int64_t stride = 1;
      for (int axis = x.rank() - 1; axis >= 0; stride *= x.dim(axis), --axis) strides[axis] = stride;
      for (size_t axis = 0; axis < perm_.size(); ++axis) permuted[axis] = strides[perm_[axis]];
      grid.add_view({permuted, perm_.size()});
    }
    grid.merge_axes();
    if (grid.rank() >= 2 && grid.stride(0, grid.rank() - 2) == 1 && dtype_size(y.dtype) == 4 && y.numel() > 0) {
      const int64_t strips = ceil_div(grid.size(grid.rank() - 2), kStrip);  // of a matrix
      for_range(args.pool, grid.rows() / grid.size(grid.rank() - 2) * strips, y.numel(),
                [&](int64_t begin, int64_t end, int) {
                  for (int64_t i = begin; i < end; ++i) transpose_strip(x, y, grid, i / strips, i % strips * kStrip);
                });
      return {};
    }
    for_range(args.pool, grid.rows(), y.numel(), [&](int64_t begin, int64_t end, int) {
      switch (dtype_size(y.dtype)) {
        case 8:
          return copy<uint64_t>(x, y, grid, begin, end);
        case 4:
          return copy<uint32_t>(x, y, grid, begin, end);
        case 2:
          return copy<uint16_t>(x, y, grid, begin, end);
        default:
          return copy<uint8_t>(x, y, grid, begin, end);
      }
    });
    return {};
  }

 private:
  static constexpr int64_t kStrip = 64;

  // Up to kStrip rows of y's matrix `index`, which stand side by side in x; 16 by 16 elements at a time.
  static void transpose_strip(const TensorArg& x, const TensorArg& y, const Broadcast& grid, int64_t index,
                              int64_t first) {
    constexpr int64_t kBlock = 16;
    const int64_t rows = grid.size(grid.rank() - 2), columns = grid.columns(), step = grid.step(0);
    const int64_t end = std::min(rows, first + kStrip);
    const uint32_t* from = x.as<const uint32_t>() + grid.offset(0, index * rows);
    uint32_t* to = y.as<uint32_t>() + index * rows * columns;
    for (int64_t j = 0; j < columns; j += kBlock)
      for (int64_t i = first; i < end; i += kBlock)
        for (int64_t column = j; column < std::min(columns, j + kBlock); ++column)
          for (int64_t row = i; row < std::min(end, i + kBlock); ++row)
            to[row * columns + column] = from[column * step + row];
  }

  template <class T>
  static void copy(const TensorArg& x, const TensorArg& y, const Broadcast& grid, int64_t begin, int64_t end) {
    const int64_t columns = grid.columns(), step = grid.step(0);
    for (int64_t row = begin; row < end; ++row) {
      const T* from = x.as<const T>() + grid.offset(0, row);
      T* to = y.as<T>() + row * columns;
      if (step == 1) {
        std::copy_n(from, columns, to);
      } else {
        for (int64_t i = 0; i < columns; ++i) to[i] = from[i * step];
      }
    }
  }
  std::vector<int64_t> perm_;
};

class CopyKernel final : public CpuKernel {
 public:
  CopyKernel(Op op, std::string_view id) : op_(op), id_(id) {}
  std::string_view id() const override { return id_; }
  Support supports(const Problem& problem) const override {
    if (problem.op != op_) return Support::no(fmt::format("computes {} only", ir::op_name(op_)));
    if (problem.outputs[0].rank() > kMostAxes) return Support::no(fmt::format("more than {} axes", kMostAxes));
    return Support::yes();
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&, const VectorCode&) const override {
    return std::make_unique<CopyLauncher>(problem);
  }

 private:
  Op op_;
  std::string_view id_;
};

}  // namespace

const CpuKernel& gather_kernel() {
  static const GatherKernel kernel;
  return kernel;
}

const CpuKernel& transpose_kernel() {
  static const CopyKernel kernel(Op::k_transpose, "cpu.transpose");
  return kernel;
}

const CpuKernel& expand_kernel() {
  static const CopyKernel kernel(Op::k_expand, "cpu.expand");
  return kernel;
}

}  // namespace tenon::kernels::cpu
