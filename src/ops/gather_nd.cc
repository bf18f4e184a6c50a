#include "ops/support.h"

namespace tenon::ops {
namespace {

struct Plan {
  int64_t batches = 1;   // product of the batch axes
  int64_t rows = 1;      // index tuples per batch
  int64_t depth = 1;     // length of a tuple
  int64_t block = 1;     // elements of data per batch
  int64_t inner = 1;     // elements gathered per tuple
  std::vector<int64_t> sizes;    // of the indexed axes
  std::vector<int64_t> strides;  // of the indexed axes
};

Plan make_plan(std::span<const int64_t> data, std::span<const int64_t> indices, size_t batch_dims) {
  Plan p;
  const auto depth = static_cast<size_t>(indices.back());
  p.depth = indices.back();
  p.batches = product(data, size_t{0}, batch_dims);
  p.rows = product(indices, batch_dims, indices.size() - 1);
  p.block = product(data, batch_dims, data.size());
  p.inner = product(data, batch_dims + depth, data.size());
  const std::vector<int64_t> strides = strides_of(data);
  for (size_t i = batch_dims; i < batch_dims + depth; ++i) {
    p.sizes.push_back(data[i]);
    p.strides.push_back(strides[i]);
  }
  return p;
}

template <class T>
Status gather_nd(const Plan& p, const T* data, const std::vector<int64_t>& index, T* y) {
  const int64_t* tuple = index.data();
  for (int64_t row = 0; row < p.batches * p.rows; ++row, tuple += p.depth) {
    int64_t at = row / p.rows * p.block;
    for (size_t k = 0; k < p.sizes.size(); ++k) {
      const int64_t i = tuple[k];
      if (i < -p.sizes[k] || i >= p.sizes[k]) {
        return error(ErrorCode::kBadInput, "index {} of tuple {} is out of range for an axis of size {}", i, row, p.sizes[k]);
      }
      at += (i < 0 ? i + p.sizes[k] : i) * p.strides[k];
    }
    y = std::copy_n(data + at, p.inner, y);
  }
  return {};
}

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 1, DTypes::kInteger));
  const Shape &data = c.shape(0), &indices = c.shape(1);
  const int64_t batch_dims = c.attrs.integer("batch_dims");
  if (indices.empty() || !indices.back().is_const()) return error(ErrorCode::kBadModel, "indices need a constant last axis");
  const int64_t depth = indices.back().value();
  if (batch_dims < 0 || batch_dims >= c.rank(1) || batch_dims > c.rank(0) || depth < 0 || depth > c.rank(0) - batch_dims) {
    return error(ErrorCode::kBadModel, "tuples of {} indices after {} batch axes do not fit data of rank {}", depth, batch_dims, c.rank(0));
  }
  Shape shape;
  for (int64_t i = 0; i < batch_dims; ++i) {
    TENON_ASSIGN(Dim d, c.same(data[static_cast<size_t>(i)], indices[static_cast<size_t>(i)]));
    shape.push_back(std::move(d));
  }
  shape.insert(shape.end(), indices.begin() + batch_dims, indices.end() - 1);
  shape.insert(shape.end(), data.begin() + batch_dims + depth, data.end());
  std::optional<KnownDims> known;
  if (const auto index = const_ints(c.known(1)); index && c.known(0) != nullptr) {
    known = make_known(c.dtype(0), shape);
    if (known) {
      const Plan plan = make_plan(c.known(0)->shape, c.known(1)->shape, static_cast<size_t>(batch_dims));
      const Status s = gather_nd(plan, c.known(0)->values.data(), *index, known->values.data());
      if (!s.ok()) return Status(ErrorCode::kBadModel, s.message());
    }
  }
  return c.output(c.dtype(0), std::move(shape), std::move(known));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg data = args.input(0), indices = args.input(1), y = args.output();
  const auto batch_dims = static_cast<size_t>(attrs.integer("batch_dims"));
  if (!std::ranges::equal(data.shape.first(batch_dims), indices.shape.first(batch_dims))) {
    return error(ErrorCode::kBadInput, "data {} and indices {} differ in their batch axes", shape_text(data.shape), shape_text(indices.shape));
  }
  TENON_ASSIGN(const std::vector<int64_t> index, read_ints(indices));
  const Plan plan = make_plan(data.shape, indices.shape, batch_dims);
  return visit_width(y.dtype, [&]<class T>() { return gather_nd(plan, data.as<T>(), index, y.as<T>()); });
}

}  // namespace

OpDef define_gather_nd() {
  return {.summary = "y[b…, j…, i…] = data[b…, indices[b…, j…, :], i…]; indices [B…, J…, k] -> [B…, J…, I…]",
          .inputs = {{"data"}, {"indices"}},
          .attrs = {{"batch_dims", int64_t{0}, false, "leading axes that data and indices share"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
