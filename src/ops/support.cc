#include "ops/support.h"

namespace tenon::ops {

std::vector<int64_t> strides_of(std::span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

std::vector<int64_t> broadcast_strides(std::span<const int64_t> shape, std::span<const int64_t> target) {
  const std::vector<int64_t> own = strides_of(shape);
  std::vector<int64_t> strides(target.size(), 0);
  const size_t lead = target.size() - shape.size();
  for (size_t i = 0; i < shape.size(); ++i) strides[lead + i] = shape[i] == 1 ? 0 : own[i];
  return strides;
}

namespace {

// y [rows, columns] = transposed x, whose rows lie `step` apart: through a small square, so that several lines of the
// cache are read and written at a time, also where rows lie so far apart that few of them fit.
template <class T>
void transpose(const T* x, int64_t step, int64_t rows, int64_t columns, T* y) {
  constexpr int64_t kSide = 64;
  T square[kSide][kSide];
  for (int64_t left = 0; left < columns; left += kSide) {
    for (int64_t top = 0; top < rows; top += kSide) {
      const int64_t height = std::min(kSide, rows - top), width = std::min(kSide, columns - left);
      for (int64_t c = 0; c < width; ++c) std::copy_n(x + (left + c) * step + top, height, square[c]);
      for (int64_t r = 0; r < height; ++r)
        for (int64_t c = 0; c < width; ++c) y[(top + r) * columns + left + c] = square[c][r];
    }
  }
}

}  // namespace

void copy_view(const TensorArg& src, const StridedView& view, const TensorArg& dst) {
  const size_t rank = dst.shape.size();
  const bool turned = rank >= 2 && view.strides[rank - 1] > 1 && view.strides[rank - 2] == 1;
  visit_width(dst.dtype, [&]<class T>() {
    if (!turned) return copy_view(src.as<T>(), view, dst.shape, dst.as<T>());
    T* y = dst.as<T>();
    const std::span<const int64_t> outer(view.strides.data(), rank - 1);
    for_each_row<1>(dst.shape.first(rank - 1), {outer}, [&](const auto& at, const auto&, int64_t rows) {
      transpose(src.as<T>() + view.offset + at[0], view.strides.back(), rows, dst.shape.back(), y);
      y += rows * dst.shape.back();
    });
  });
}

Status check_dtype(const InferContext& context, int input, DTypes allowed) {
  const DType t = context.dtype(input);
  const auto refuse = [&](const char* wanted) {
    return error(ErrorCode::kBadModel, "input {} is {}, but must be {}", input, dtype_name(t), wanted);
  };
  switch (allowed) {
    case DTypes::kFloat: return is_float(t) ? Status() : refuse("floating-point");
    case DTypes::kInteger: return is_integer(t) ? Status() : refuse("an integer type");
    case DTypes::kNumber:
      return is_float(t) || is_integer(t) ? Status() : refuse("a numeric type");
    case DTypes::kBool: break;
  }
  return t == DType::kBool ? Status() : refuse("bool");
}

Status check_same_dtype(const InferContext& context, int first) {
  for (int i = first + 1; i < context.num_inputs(); ++i) {
    if (!context.has(i) || context.dtype(i) == context.dtype(first)) continue;
    return error(ErrorCode::kBadModel, "inputs {} and {} are of different types, {} and {}", first, i,
                 dtype_name(context.dtype(first)), dtype_name(context.dtype(i)));
  }
  return {};
}

Status check_sizes(const Shape& shape) {
  for (const Dim& d : shape) {
    if ((-d).at_least(1)) return error(ErrorCode::kBadModel, "size {} in {} is negative", d.to_string(), ir::to_string(shape));
  }
  return {};
}

Status check_broadcast(std::span<const int64_t> shape, std::span<const int64_t> target, size_t input) {
  bool fits = shape.size() <= target.size();
  for (size_t i = 0; fits && i < shape.size(); ++i) {
    const int64_t wanted = target[target.size() - shape.size() + i];
    fits = shape[i] == wanted || shape[i] == 1;
  }
  if (fits) return {};
  return error(ErrorCode::kBadInput, "input {} of shape {} does not broadcast to {}", input, shape_text(shape), shape_text(target));
}

Status check_broadcast(const RunArgs& args) {
  for (size_t k = 0; k < args.inputs.size(); ++k) TENON_TRY(check_broadcast(args.inputs[k].shape, args.output().shape, k));
  return {};
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out.append(i ? "," : "").append(std::to_string(shape[i]));
  return out + "]";
}

std::string position_text(int64_t flat, std::span<const int64_t> shape) {
  std::vector<int64_t> at(shape.size());
  for (size_t i = shape.size(); i-- > 0;) {
    at[i] = flat % shape[i];
    flat /= shape[i];
  }
  return shape_text(at);
}

Result<std::vector<int64_t>> read_ints(const TensorArg& tensor) {
  if (!is_integer(tensor.dtype)) return error(ErrorCode::kBadInput, "{} is not an integer type", dtype_name(tensor.dtype));
  std::vector<int64_t> values(static_cast<size_t>(tensor.numel()));
  visit_dtype(tensor.dtype, [&]<class T>() {
    std::transform(tensor.as<T>(), tensor.as<T>() + values.size(), values.begin(), [](T v) { return convert<int64_t>(v); });
  });
  return values;
}

Result<std::vector<int64_t>> read_indices(const TensorArg& indices, int64_t size) {
  TENON_ASSIGN(std::vector<int64_t> values, read_ints(indices));
  for (size_t i = 0; i < values.size(); ++i) {
    int64_t& v = values[i];
    if (v < -size || v >= size) {
      return error(ErrorCode::kBadInput, "index {} at position {} is out of range for an axis of size {}", v,
                   position_text(static_cast<int64_t>(i), indices.shape), size);
    }
    if (v < 0) v += size;
  }
  return values;
}

int64_t product(std::span<const int64_t> shape, int begin, int end) {
  int64_t n = 1;
  for (int i = begin; i < end; ++i) n *= shape[static_cast<size_t>(i)];
  return n;
}

std::optional<KnownDims> make_known(DType dtype, const Shape& shape) {
  if ((!is_integer(dtype) && dtype != DType::kBool) || !ir::all_const(shape)) return std::nullopt;
  int64_t n = 1;
  for (const Dim& d : shape) {
    if (d.value() < 0 || d.value() > kMaxKnown) return std::nullopt;
    n *= d.value();
    if (n > kMaxKnown) return std::nullopt;
  }
  return KnownDims{ir::const_values(shape), std::vector<Dim>(static_cast<size_t>(n))};
}

std::optional<std::vector<int64_t>> const_ints(const KnownDims* known) {
  if (known == nullptr || !ir::all_const(known->values)) return std::nullopt;
  return ir::const_values(known->values);
}

std::optional<KnownDims> known_view(const KnownDims* x, const StridedView& view, DType dtype, const Shape& shape) {
  if (x == nullptr) return std::nullopt;
  std::optional<KnownDims> known = make_known(dtype, shape);
  if (known) copy_view(x->values.data(), view, known->shape, known->values.data());
  return known;
}

double flops_per_output(const Attrs&, std::span<const TensorArg>, std::span<const TensorArg> outputs) {
  return static_cast<double>(outputs[0].numel());
}

double flops_per_input(const Attrs&, std::span<const TensorArg> inputs, std::span<const TensorArg>) {
  return static_cast<double>(inputs[0].numel());
}

}  // namespace tenon::ops
