#include "ops/support.h"

namespace tenon::ops {
namespace {

// y[o, j, i] = x[o, index[j], i]; x is [outer, size, inner].
template <class T>
void gather(const T* x, int64_t outer, int64_t size, int64_t inner, const std::vector<int64_t>& index, T* y) {
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t j : index) y = std::copy_n(x + (o * size + j) * inner, inner, y);
  }
}

std::optional<KnownDims> infer_known(const InferContext& c, int axis, const Shape& shape) {
  auto index = const_ints(c.known(1));
  if (c.known(0) == nullptr || !index) return std::nullopt;
  std::optional<KnownDims> known = make_known(c.dtype(0), shape);
  if (!known) return std::nullopt;
  const std::vector<int64_t>& x = c.known(0)->shape;
  const int64_t size = x[static_cast<size_t>(axis)];
  for (int64_t& i : *index) i += i < 0 ? size : 0;
  gather(c.known(0)->values.data(), product(x, 0, axis), size, product(x, axis + 1, c.rank(0)), *index, known->values.data());
  return known;
}

Status infer(InferContext& c) {
  TENON_ASSIGN(const int axis, c.axis(c.attrs.integer("axis"), c.rank(0)));
  TENON_TRY(check_dtype(c, 1, DTypes::kInteger));
  const Shape& x = c.shape(0);
  const Dim& size = x[static_cast<size_t>(axis)];
  if (c.known(1) != nullptr) {
    for (const Dim& i : c.known(1)->values) {
      if ((i - size).at_least(0) || (-i - size).at_least(1)) {
        return error(ErrorCode::kBadModel, "index {} is out of range for an axis of size {}", i.to_string(), size.to_string());
      }
    }
  }
  Shape shape(x.begin(), x.begin() + axis);
  shape.insert(shape.end(), c.shape(1).begin(), c.shape(1).end());
  shape.insert(shape.end(), x.begin() + axis + 1, x.end());
  std::optional<KnownDims> known = infer_known(c, axis, shape);
  return c.output(c.dtype(0), std::move(shape), std::move(known));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t attr = attrs.integer("axis");
  const int axis = static_cast<int>(attr < 0 ? attr + x.rank() : attr);
  TENON_ASSIGN(const std::vector<int64_t> index, read_indices(args.input(1), x.dim(axis)));
  if (y.numel() == 0) return {};
  const int64_t inner = product(x.shape, axis + 1, x.rank()) * static_cast<int64_t>(dtype_size(x.dtype));
  gather(x.as<std::byte>(), product(x.shape, 0, axis), x.dim(axis), inner, index, y.as<std::byte>());
  return {};
}

}  // namespace

OpDef define_gather() {
  return {.summary = "y[o…, j…, i…] = data[o…, indices[j…], i…] at axis; data [O…, n, I…], indices [J…] -> [O…, J…, I…]",
          .inputs = {{"data"}, {"indices"}},
          .attrs = {{"axis", int64_t{0}, false, "in [-rank, rank); negative indices count from the end"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
