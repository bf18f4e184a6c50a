//   p -- linear -- x -- layer_norm -- n -+- linear -- …
//                                        +- linear(…, residual = n) -- …
//   =>
//   p -- linear_norm -- x, moments -+- linear_norm(W', x's moments) -- …
//                                   +- linear_norm(…, residual = x, x's moments, gamma) -- …
//
// with W' = (I - 1/K) diag(gamma) W, whose columns sum to 0: (x - mean) / std * gamma W = x W' / std.
//
// Why:      the norm's own pass over memory, and on a GPU its kernel, is gone; what is left of it hides behind
// products. Order:    behind lower-precision, for targets whose kernels compute linear_norm; new weights come from the
// wide ones and
//           are rounded once.
// Declines: somebody else reads n; x is no product; a product stands between two norms already.
#include "ops/interpret.h"
#include "ops/linear_norm.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

enum Input { kX, kW, kBias, kResidual, kXMoments, kResidualMoments, kGamma, kInputs };

// A product that its kernel takes as linear_norm.
bool is_product(const Node& node) {
  if (!node.is(Op::k_linear) && !node.is(Op::k_linear_norm)) return false;
  const Shape& weight = node.input(kW)->shape();
  if (!ops::is_constant_expression(*node.input(kW)) || !ir::all_const(weight)) return false;
  constexpr int64_t kNarrow = 32;  // up to so many columns kernels take any number
  return weight[0].value() % 8 == 0 && (weight[1].value() % 8 == 0 || weight[1].value() <= kNarrow);
}

// Why `use` of a norm's rows cannot take them folded; empty when it can.
std::string obstacle(const ir::Use& use, bool has_beta) {
  const Node& node = *use.node;
  if (!is_product(node) || (use.input != kX && use.input != kResidual))
    return fmt::format("{} reads it", ir::op_name(node.op()));
  if (node.is(Op::k_linear_norm) && (node.input(kXMoments) != nullptr || node.input(kResidualMoments) != nullptr)) {
    return "a product that reads it has another norm folded into it";
  }
  if (use.input == kX && node.input(kResidual) == node.input(kX)) return "a product reads it twice";
  const bool activated = !node.attrs().text("activation").empty();
  if (use.input == kResidual && has_beta && activated) return "an activation stands before the sum that reads it";
  return "";
}

class Folding {
 public:
  Folding(Rewriter& rw, Node& norm) : rw_(rw), norm_(norm) {}

  Result<bool> run() {
    if (!norm_.is(Op::k_layer_norm) || norm_.output()->type().dtype == DType::kF32) return rw_.no_match();
    Value *x = norm_.input(0), *n = norm_.output();
    const int64_t axis = norm_.attrs().integer("axis");
    const Dim width = x->shape().back();
    if ((axis != -1 && axis != x->rank() - 1) || !width.is_const() || width.value() % ops::kMomentsPanel != 0) {
      return rw_.decline(norm_, fmt::format("its rows are not whole panels of {}", ops::kMomentsPanel));
    }
    for (int i : {1, 2})
      if (norm_.input(i) != nullptr && !ops::is_constant_expression(*norm_.input(i)))
        return rw_.decline(norm_, "gamma or beta is computed");
    if (norm_.input(3) != nullptr || x->producer() == nullptr || !is_product(*x->producer())) {
      return rw_.decline(norm_, "its rows do not come from one product");
    }
    if (n->is_output()) return rw_.decline(norm_, "it is an output");
    for (const ir::Use& use : n->uses()) {
      const std::string reason = obstacle(use, norm_.input(2) != nullptr);
      if (!reason.empty()) return rw_.decline(norm_, reason);
    }
    const auto result = rw_.changed(norm_, fmt::format("into {} products", n->uses().size()));
    TENON_TRY(fold());
    return result;
  }

 private:
  Status fold() {
    TENON_ASSIGN(x_, with_moments(*norm_.input(0)->producer()));
    moments_ = x_->producer()->output(1);
    const std::vector<ir::Use> uses = norm_.output()->uses();  // the norm goes with the last of them
    for (const ir::Use& use : uses) {
      Node& reader = *use.node;
      rw_.set_anchor(&reader);
      TENON_ASSIGN(Value * folded, use.input == kX ? normalise_x(reader) : normalise_residual(reader));
      if (reader.num_outputs() > 1) rw_.graph().replace_all_uses(reader.output(1), folded->producer()->output(1));
      rw_.replace(reader.output(), folded);
    }
    return {};
  }

  // The product with moments as its second output.
  Result<Value*> with_moments(Node& product) {
    if (product.num_outputs() > 1) return product.output();
    rw_.set_anchor(&product);
    TENON_ASSIGN(std::vector<Value*> inputs, inputs_of(product));
    Attrs attrs = attrs_of(product);
    attrs.set("moments", int64_t{1});
    TENON_ASSIGN(Value * x, rw_.create(Op::k_linear_norm, inputs, attrs));
    rw_.replace(product.output(), x);
    return x;
  }

  Result<Value*> normalise_x(Node& reader) {
    TENON_ASSIGN(std::vector<Value*> inputs, inputs_of(reader));
    TENON_ASSIGN(Value * weight, wide(reader.input(kW)));
    if (norm_.input(2) != nullptr) {
      TENON_ASSIGN(Value * beta, wide(norm_.input(2)));
      TENON_ASSIGN(Value * shift, rw_.create(Op::k_matmul, {beta, weight}));
      TENON_ASSIGN(inputs[kBias], sum(inputs[kBias], shift));
    }
    if (norm_.input(1) != nullptr) {
      TENON_ASSIGN(Value * gamma, wide(norm_.input(1)));
      TENON_ASSIGN(gamma, rw_.create(Op::k_reshape, {gamma}, {{"shape", Shape{gamma->shape()[0], Dim(1)}}}));
      TENON_ASSIGN(weight, rw_.create(Op::k_mul, {weight, gamma}));
    }
    TENON_ASSIGN(Value * mean, rw_.create(Op::k_reduce_mean, {weight},
                                          {{"axes", std::vector<int64_t>{0}}, {"keepdims", int64_t{1}}}));
    TENON_ASSIGN(Value * centred, rw_.create(Op::k_sub, {weight, mean}));
    TENON_ASSIGN(inputs[kW], rw_.create(Op::k_cast, {centred}, {{"to", x_->type().dtype}}));
    inputs[kX] = x_;
    inputs[kXMoments] = moments_;
    return product(reader, std::move(inputs));
  }

  Result<Value*> normalise_residual(Node& reader) {
    TENON_ASSIGN(std::vector<Value*> inputs, inputs_of(reader));
    if (norm_.input(2) != nullptr) {
      TENON_ASSIGN(Value * beta, wide(norm_.input(2)));
      TENON_ASSIGN(inputs[kBias], sum(inputs[kBias], beta));
    }
    if (norm_.input(1) != nullptr) {
      TENON_ASSIGN(inputs[kGamma], wide(norm_.input(1)));
    } else {
      const auto width = x_->shape().back().value();
      inputs[kGamma] =
          rw_.constant(Tensor::from(DType::kF32, {width}, std::vector<float>(static_cast<size_t>(width), 1.f)));
    }
    inputs[kResidual] = x_;
    inputs[kResidualMoments] = moments_;
    return product(reader, std::move(inputs));
  }

  // `reader` on other inputs, behind the norm.
  Result<Value*> product(Node& reader, std::vector<Value*> inputs) {
    Attrs attrs = attrs_of(reader);
    attrs.set("epsilon", norm_.attrs().number("epsilon"));
    TENON_ASSIGN(Value * folded, rw_.create(Op::k_linear_norm, std::move(inputs), attrs));
    rw_.absorb_origin(folded->producer(), &norm_);
    return folded;
  }

  // Attributes and inputs of a linear or linear_norm as those of a linear_norm.
  static Attrs attrs_of(const Node& product) {
    if (product.is(Op::k_linear_norm)) return product.attrs();
    return {{"activation", product.attrs().text("activation")}};
  }
  Result<std::vector<Value*>> inputs_of(const Node& product) {
    std::vector<Value*> inputs(product.inputs().begin(), product.inputs().end());
    inputs.resize(kInputs, nullptr);
    if (inputs[kBias] != nullptr) {
      TENON_ASSIGN(inputs[kBias], wide(inputs[kBias]));
    }
    return inputs;
  }

  // A constant in f32: what it was before it was rounded, where that is known.
  Result<Value*> wide(Value* v) {
    if (v->type().dtype == DType::kF32) return v;
    if (v->is(Op::k_cast) && v->producer()->input(0)->type().dtype == DType::kF32) return v->producer()->input(0);
    return rw_.create(Op::k_cast, {v}, {{"to", DType::kF32}});
  }

  Result<Value*> sum(Value* a, Value* b) {
    if (a == nullptr) return b;
    return rw_.create(Op::k_add, {a, b});
  }

  Rewriter& rw_;
  Node& norm_;
  Value *x_ = nullptr, *moments_ = nullptr;
};

Result<bool> fold_into_products(Rewriter& rw, Node& node) { return Folding(rw, node).run(); }

}  // namespace

Status fold_layer_norm(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fold-layer-norm", {fold_into_products}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
