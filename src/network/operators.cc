// Network's arithmetic and shape calls: one operator each.
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "network/network_impl.h"
#include "ops/op_def.h"

namespace tenon {
namespace {

using ir::Attrs;
using ir::Dim;
using ir::Op;
using ir::Shape;

Op op_of(Elementwise op) {
  switch (op) {
    case Elementwise::kAdd: return Op::k_add;
    case Elementwise::kSub: return Op::k_sub;
    case Elementwise::kMul: return Op::k_mul;
    case Elementwise::kDiv: return Op::k_div;
    case Elementwise::kPow: return Op::k_pow;
    case Elementwise::kMin: return Op::k_min;
    case Elementwise::kMax: return Op::k_max;
    case Elementwise::kEqual: return Op::k_equal;
    case Elementwise::kLess: return Op::k_less;
    case Elementwise::kGreater: return Op::k_greater;
    case Elementwise::kAnd: return Op::k_and;
    case Elementwise::kOr: break;
  }
  return Op::k_or;
}

Op op_of(Unary op) {
  switch (op) {
    case Unary::kNeg: return Op::k_neg;
    case Unary::kAbs: return Op::k_abs;
    case Unary::kExp: return Op::k_exp;
    case Unary::kLog: return Op::k_log;
    case Unary::kSqrt: return Op::k_sqrt;
    case Unary::kReciprocal: return Op::k_reciprocal;
    case Unary::kErf: return Op::k_erf;
    case Unary::kFloor: return Op::k_floor;
    case Unary::kNot: break;
  }
  return Op::k_not;
}

Op op_of(Reduce op) {
  switch (op) {
    case Reduce::kSum: return Op::k_reduce_sum;
    case Reduce::kMean: return Op::k_reduce_mean;
    case Reduce::kMax: return Op::k_reduce_max;
    case Reduce::kMin: return Op::k_reduce_min;
    case Reduce::kProd: break;
  }
  return Op::k_reduce_prod;
}

Attrs gelu(const char* form) { return {{"approximate", std::string(form)}}; }

}  // namespace

// ---- Arithmetic
// ------------------------------------------------------------------------------------------------------

Value Network::elementwise(Elementwise op, Value a, Value b) {
  return impl_->emit(ir::op_name(op_of(op)).data(), op_of(op), {a, b});
}

Value Network::scale(Value x, double factor) {
  const DType dtype = impl_->own("scale", x)->dtype();
  return impl_->emit("scale", Op::k_mul, {x, scalar(factor, dtype)});
}

Value Network::unary(Unary op, Value x) { return impl_->emit(ir::op_name(op_of(op)).data(), op_of(op), {x}); }

Value Network::activation(Value x, Activation kind) {
  switch (kind) {
    case Activation::kRelu: return impl_->emit("relu", Op::k_relu, {x});
    case Activation::kGelu: return impl_->emit("gelu", Op::k_gelu, {x}, gelu("none"));
    case Activation::kGeluTanh: return impl_->emit("gelu", Op::k_gelu, {x}, gelu("tanh"));
    case Activation::kGeluSigmoid: return impl_->emit("gelu", Op::k_gelu, {x}, gelu("sigmoid"));
    case Activation::kTanh: return impl_->emit("tanh", Op::k_tanh, {x});
    case Activation::kSigmoid: return impl_->emit("sigmoid", Op::k_sigmoid, {x});
    case Activation::kSilu: return impl_->emit("silu", Op::k_silu, {x});
    case Activation::kNone: break;
  }
  impl_->own("activation", x);
  return x;
}

Value Network::where(Value condition, Value a, Value b) { return impl_->emit("where", Op::k_where, {condition, a, b}); }

Value Network::cast(Value x, DType to) { return impl_->emit("cast", Op::k_cast, {x}, {{"to", to}}); }

Value Network::matmul(Value a, Value b) { return impl_->emit("matmul", Op::k_matmul, {a, b}); }

Value Network::softmax(Value x, int axis) {
  return impl_->emit("softmax", Op::k_softmax, {x}, {{"axis", int64_t{axis}}});
}

Value Network::reduce(Reduce op, Value x, const std::vector<int>& axes, bool keep_dims) {
  const int rank = impl_->own("reduce", x)->rank();
  std::set<int64_t> distinct;
  for (int axis : axes) {
    const int i = axis < 0 ? axis + rank : axis;
    if (i < 0 || i >= rank) impl_->fail("reduce", fmt::format("axis {} is out of range for {}", axis, x.type()));
    distinct.insert(i);
  }
  const std::vector<int64_t> sorted(distinct.begin(), distinct.end());
  return impl_->emit("reduce", op_of(op), {x}, {{"axes", sorted}, {"keepdims", int64_t{keep_dims}}});
}

Value Network::cumulative_sum(Value x, int axis) {
  return impl_->emit("cumulative_sum", Op::k_cumsum, {x}, {{"axis", int64_t{axis}}});
}

// ---- Shapes
// ----------------------------------------------------------------------------------------------------------

Value Network::positions(Value x, int axis) {
  const ir::Value* v = impl_->own("positions", x);
  const int i = axis < 0 ? axis + v->rank() : axis;
  if (i < 0 || i >= v->rank()) impl_->fail("positions", fmt::format("axis {} is out of range for {}", axis, x.type()));
  return impl_->emit("positions", Op::k_iota, {}, {{"size", Shape{v->shape()[static_cast<size_t>(i)]}}});
}

Value Network::reshape(Value x, const std::vector<int64_t>& dims) {
  const Shape& from = impl_->own("reshape", x)->shape();
  Shape to;
  Dim given = 1;
  std::optional<size_t> open;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == -1) {
      if (open) impl_->fail("reshape", "two sizes are -1");
      open = i;
      to.push_back(1);
      continue;
    }
    if (dims[i] < -1) impl_->fail("reshape", fmt::format("size {} makes no sense", dims[i]));
    if (dims[i] == 0 && i >= from.size())
      impl_->fail("reshape", fmt::format("size {} is 0 (as in x), but x is {}", i, x.type()));
    to.push_back(dims[i] == 0 ? from[i] : Dim(dims[i]));
    given = given * to.back();
  }
  if (open) {
    const auto rest = numel(from).exact_div(given);
    if (!rest)
      impl_->fail("reshape",
                  fmt::format("{} elements do not divide by {}", numel(from).to_string(), given.to_string()));
    to[*open] = *rest;
  }
  return impl_->emit("reshape", Op::k_reshape, {x}, {{"shape", std::move(to)}});
}

Value Network::transpose(Value x, const std::vector<int>& order) {
  return impl_->emit("transpose", Op::k_transpose, {x}, {{"perm", std::vector<int64_t>(order.begin(), order.end())}});
}

Value Network::shuffle(Value x, const std::vector<int64_t>& dims, const std::vector<int>& order) {
  if (!dims.empty()) x = reshape(x, dims);
  if (!order.empty()) x = transpose(x, order);
  return x;
}

Value Network::slice(Value x, int axis, int64_t start, int64_t end, int64_t step) {
  const ir::Value* v = impl_->own("slice", x);
  const int i = axis < 0 ? axis + v->rank() : axis;
  if (i < 0 || i >= v->rank()) impl_->fail("slice", fmt::format("axis {} is out of range for {}", axis, x.type()));
  if (step < 1) impl_->fail("slice", fmt::format("step {} is not positive", step));
  const Dim size = v->shape()[static_cast<size_t>(i)];
  const auto place = [&](int64_t index) {
    return index < 0 ? Dim::max(size + Dim(index), 0) : Dim::min(Dim(index), size);
  };
  const Dim stop = end == std::numeric_limits<int64_t>::max() ? size : place(end);
  const Dim begin = start == 0 ? Dim(0) : Dim::min(place(start), stop);
  return impl_->emit("slice", Op::k_slice, {x},
                     {{"axes", std::vector<int64_t>{i}},
                      {"starts", Shape{begin}},
                      {"ends", Shape{stop}},
                      {"steps", std::vector<int64_t>{step}}});
}

Value Network::select(Value x, int axis, int64_t index) {
  impl_->own("select", x);
  return impl_->emit("select", Op::k_gather, {x, scalar(static_cast<double>(index), DType::kI64)},
                     {{"axis", int64_t{axis}}});
}

Value Network::gather(Value x, Value indices, int axis) {
  return impl_->emit("gather", Op::k_gather, {x, indices}, {{"axis", int64_t{axis}}});
}

Value Network::gather_rows(Value x, Value indices) {
  if (impl_->own("gather_rows", indices)->rank() != 2)
    impl_->fail("gather_rows", "indices are " + indices.type() + ", not [batch, n]");
  const Value columns = reshape(indices, {0, 0, 1});
  return impl_->emit("gather_rows", Op::k_gather_nd, {x, columns}, {{"batch_dims", int64_t{1}}});
}

Value Network::concat(const std::vector<Value>& parts, int axis) {
  return impl_->emit("concat", Op::k_concat, parts, {{"axis", int64_t{axis}}});
}

}  // namespace tenon
