// What definitions of ops share: strides and broadcasting, dispatch over element types, known contents, checks.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/dtype.h"
#include "ops/op_def.h"

namespace tenon::ops {

// ---- Strides ---------------------------------------------------------------------------------------------------------

// In elements, row-major.
std::vector<int64_t> strides_of(std::span<const int64_t> shape);
// The strides with which a tensor of `shape` is read as one of `target`: 0 along axes that it lacks or where it has size 1.
std::vector<int64_t> broadcast_strides(std::span<const int64_t> shape, std::span<const int64_t> target);

// Element [i, j, …] of the view is element offset + i*strides[0] + j*strides[1] + … of the memory under it.
struct StridedView {
  int64_t offset = 0;
  std::vector<int64_t> strides;
};

// Walks N operands over an index space row by row: row(offsets, steps, n) is called for each run of n indices along the last
// axis, with each operand's first offset and its step within the run. A scalar is one run of one.
template <size_t N, class Row>
void for_each_row(std::span<const int64_t> shape, const std::array<std::span<const int64_t>, N>& strides, Row&& row) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return;
  std::array<int64_t, N> offsets{}, steps{};
  const size_t outer = shape.empty() ? 0 : shape.size() - 1;
  const int64_t n = shape.empty() ? 1 : shape.back();
  for (size_t k = 0; k < N && !shape.empty(); ++k) steps[k] = strides[k][outer];
  std::vector<int64_t> index(outer, 0);
  while (true) {
    row(offsets, steps, n);
    size_t axis = outer;
    for (; axis > 0; --axis) {
      const size_t a = axis - 1;
      for (size_t k = 0; k < N; ++k) offsets[k] += strides[k][a];
      if (++index[a] < shape[a]) break;
      for (size_t k = 0; k < N; ++k) offsets[k] -= strides[k][a] * shape[a];
      index[a] = 0;
    }
    if (axis == 0) return;
  }
}

// dst, dense of `shape`, takes the elements of a view of src.
template <class T>
void copy_view(const T* src, const StridedView& view, std::span<const int64_t> shape, T* dst) {
  for_each_row<1>(shape, {view.strides}, [&](const auto& at, const auto& step, int64_t n) {
    const T* from = src + view.offset + at[0];
    for (int64_t i = 0; i < n; ++i) *dst++ = from[i * step[0]];
  });
}
void copy_view(const TensorArg& src, const StridedView& view, const TensorArg& dst);

// ---- Element types ---------------------------------------------------------------------------------------------------

// The type that arithmetic on T is done in.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, F16> || std::is_same_v<T, BF16>, float, T>;

// Calls f.template operator()<U>() with an unsigned integer as wide as the type: for ops that only move elements.
template <class F>
decltype(auto) visit_width(DType t, F&& f) {
  switch (dtype_size(t)) {
    case 8: return f.template operator()<uint64_t>();
    case 4: return f.template operator()<uint32_t>();
    case 2: return f.template operator()<uint16_t>();
    default: return f.template operator()<uint8_t>();
  }
}

// As visit_dtype, for floating-point types only. Errors: unsupported.
template <class F>
Status visit_float(DType t, F&& f) {
  switch (t) {
    case DType::kF32: return f.template operator()<float>();
    case DType::kF16: return f.template operator()<F16>();
    case DType::kBF16: return f.template operator()<BF16>();
    case DType::kF64: return f.template operator()<double>();
    default: return error(ErrorCode::kUnsupported, "{} is not a floating-point type", dtype_name(t));
  }
}

// As visit_dtype, for all types but bool. Errors: unsupported.
template <class F>
Status visit_number(DType t, F&& f) {
  if (!is_float(t) && !is_integer(t)) return error(ErrorCode::kUnsupported, "{} is not a numeric type", dtype_name(t));
  return visit_dtype(t, [&]<class T>() -> Status {
    if constexpr (std::is_same_v<T, bool>) {
      return {};
    } else {
      return f.template operator()<T>();
    }
  });
}

// ---- Checks ----------------------------------------------------------------------------------------------------------

enum class DTypes { kFloat, kInteger, kNumber /* float or integer */, kBool };
// Errors: bad-model, naming the input.
Status check_dtype(const InferContext& context, int input, DTypes allowed);
// All inputs from `first` on have one dtype. Errors: bad-model.
Status check_same_dtype(const InferContext& context, int first = 0);
// No size is provably negative. Errors: bad-model.
Status check_sizes(const Shape& shape);
// At run time: every given input broadcasts to the output's shape. Errors: bad-input.
Status check_broadcast(const RunArgs& args);
Status check_broadcast(std::span<const int64_t> shape, std::span<const int64_t> target, size_t input);

std::string shape_text(std::span<const int64_t> shape);
// The coordinates of element `flat` of a tensor: "[0,3]".
std::string position_text(int64_t flat, std::span<const int64_t> shape);

// Integers of any integer type, as they stand. Errors: bad-input for other types.
Result<std::vector<int64_t>> read_ints(const TensorArg& tensor);
// Indices into an axis of `size` elements; negative ones count from the end. Errors: bad-input naming position and value.
Result<std::vector<int64_t>> read_indices(const TensorArg& indices, int64_t size);

// The product of the sizes of axes [begin, end).
int64_t product(std::span<const int64_t> shape, int begin, int end);
inline int64_t product(std::span<const int64_t> shape, size_t begin, size_t end) {
  return product(shape, static_cast<int>(begin), static_cast<int>(end));
}

// ---- Known contents --------------------------------------------------------------------------------------------------

// Zeros to be filled in, when an output of this type may have known contents at all: integer or bool, of constant shape, small.
std::optional<KnownDims> make_known(DType dtype, const Shape& shape);
// The values of known contents that are all constants.
std::optional<std::vector<int64_t>> const_ints(const KnownDims* known);
// The known contents of a view of x.
std::optional<KnownDims> known_view(const KnownDims* x, const StridedView& view, DType dtype, const Shape& shape);

// ---- Costs -----------------------------------------------------------------------------------------------------------

// One operation per element of output 0, or of input 0.
double flops_per_output(const Attrs&, std::span<const TensorArg> inputs, std::span<const TensorArg> outputs);
double flops_per_input(const Attrs&, std::span<const TensorArg> inputs, std::span<const TensorArg> outputs);

}  // namespace tenon::ops
