// Losses: what the probabilities say about the right classes.
#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

// -weight[target] * log_p[n, target, …]; targets equal to ignore_index count for nothing.
Status negative_log_likelihood(Call& c, Value* log_p, Value* target, Value* weight) {
  if (log_p->rank() < 2 || target->rank() != log_p->rank() - 1)
    return error(ErrorCode::kBadModel, "scores of rank {}, targets of rank {}", log_p->rank(), target->rank());
  const DType dtype = log_p->dtype();
  Value* valid = nullptr;
  if (c.has("ignore_index")) {
    TENON_ASSIGN(auto* ignored, c.with(Op::k_equal, target, static_cast<double>(c.integer("ignore_index", 0))));
    TENON_ASSIGN(valid, c.emit(Op::k_not, {ignored}));
    TENON_ASSIGN(target, c.emit(Op::k_where, {valid, target, c.scalar(target->dtype(), 0)}));
  }
  Shape shape = target->shape();
  const Shape plain = shape;
  shape.insert(shape.begin() + 1, Dim(1));
  TENON_ASSIGN(auto* index, c.reshape(target, shape));
  TENON_ASSIGN(auto* loss, c.emit(Op::k_gather_elements, {log_p, index}, {{"axis", int64_t{1}}}));
  TENON_ASSIGN(loss, c.reshape(loss, plain));
  TENON_ASSIGN(loss, c.emit(Op::k_neg, {loss}));
  Value* share = nullptr;  // of each target in a mean; null: 1
  if (weight != nullptr) {
    TENON_ASSIGN(share, c.emit(Op::k_gather, {weight, target}, {{"axis", int64_t{0}}}));
  }
  if (valid != nullptr) {
    TENON_ASSIGN(share,
                 c.emit(Op::k_where, {valid, share != nullptr ? share : c.scalar(dtype, 1), c.scalar(dtype, 0)}));
  }
  if (share != nullptr) {
    TENON_ASSIGN(loss, c.emit(Op::k_mul, {loss, share}));
  }
  const std::string reduction = c.text("reduction", "mean");
  if (reduction == "none") return c.yield(loss);
  if (reduction != "mean" && reduction != "sum") return error(ErrorCode::kBadModel, "reduction '{}'", reduction);
  std::vector<int64_t> axes;
  for (int i = 0; i < loss->rank(); ++i) axes.push_back(i);
  const ir::Attrs all{{"axes", axes}, {"keepdims", 0}};
  const bool plain_mean = reduction == "mean" && share == nullptr;
  TENON_ASSIGN(auto* total, c.emit(plain_mean ? Op::k_reduce_mean : Op::k_reduce_sum, {loss}, all));
  if (plain_mean || reduction == "sum") return c.yield(total);
  TENON_ASSIGN(share, c.expand(share, plain));
  TENON_ASSIGN(share, c.emit(Op::k_reduce_sum, {share}, all));
  return c.yield(Op::k_div, {total, share});
}

}  // namespace

Status import_nll_loss(Call& c) { return negative_log_likelihood(c, c.input(0), c.input(1), c.input(2)); }

Status import_softmax_cross_entropy(Call& c) {
  TENON_ASSIGN(auto* log_p, c.emit(Op::k_log_softmax, {c.input(0)}, {{"axis", int64_t{1}}}));
  TENON_TRY(c.yield(log_p, 1));
  return negative_log_likelihood(c, log_p, c.input(1), c.input(2));
}

}  // namespace tenon::onnx
