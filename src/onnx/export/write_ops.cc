#include "onnx/export/write_ops.h"

#include <algorithm>
#include <limits>

namespace tenon::onnx {
namespace {

using ir::Attrs;
using ir::Node;
using ir::Op;
using ir::Value;
using Names = std::vector<std::string>;

Names input_names(WriteContext& c, const Node& node) {
  Names names;
  for (const Value* v : node.inputs()) names.push_back(c.out.name(v));
  return names;
}

// Ops that ONNX has under another name, with the same inputs and no attributes that matter.
struct SameOp {
  Op op;
  const char* onnx;
};
constexpr SameOp kSame[] = {
    {Op::k_neg, "Neg"},
    {Op::k_abs, "Abs"},
    {Op::k_sign, "Sign"},
    {Op::k_exp, "Exp"},
    {Op::k_log, "Log"},
    {Op::k_sqrt, "Sqrt"},
    {Op::k_reciprocal, "Reciprocal"},
    {Op::k_erf, "Erf"},
    {Op::k_sin, "Sin"},
    {Op::k_cos, "Cos"},
    {Op::k_tanh, "Tanh"},
    {Op::k_sigmoid, "Sigmoid"},
    {Op::k_softplus, "Softplus"},
    {Op::k_relu, "Relu"},
    {Op::k_floor, "Floor"},
    {Op::k_ceil, "Ceil"},
    {Op::k_round, "Round"},
    {Op::k_not, "Not"},
    {Op::k_is_nan, "IsNaN"},
    {Op::k_add, "Add"},
    {Op::k_sub, "Sub"},
    {Op::k_mul, "Mul"},
    {Op::k_div, "Div"},
    {Op::k_pow, "Pow"},
    {Op::k_min, "Min"},
    {Op::k_max, "Max"},
    {Op::k_equal, "Equal"},
    {Op::k_less, "Less"},
    {Op::k_less_equal, "LessOrEqual"},
    {Op::k_greater, "Greater"},
    {Op::k_greater_equal, "GreaterOrEqual"},
    {Op::k_and, "And"},
    {Op::k_or, "Or"},
    {Op::k_xor, "Xor"},
    {Op::k_matmul, "MatMul"},
    {Op::k_where, "Where"},
    {Op::k_scatter_nd, "ScatterND"},
};
struct Reduction {
  Op op;
  const char* onnx;
};
constexpr Reduction kReductions[] = {
    {Op::k_reduce_sum, "ReduceSum"}, {Op::k_reduce_mean, "ReduceMean"}, {Op::k_reduce_max, "ReduceMax"},
    {Op::k_reduce_min, "ReduceMin"}, {Op::k_reduce_prod, "ReduceProd"}, {Op::k_reduce_l2, "ReduceL2"},
};

// ---- Shapes and data ------------------------------------------------------------------------------------------------

// 0 stands for the input's own size, -1 for what is left: most shapes need no arithmetic then.
void write_reshape(WriteContext& c, const Node& node) {
  const ir::Shape &from = node.input(0)->shape(), &to = node.attrs().shape("shape");
  std::vector<int64_t> target;
  int left_over = 0;
  bool empty = false;
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i].is_const()) {
      target.push_back(to[i].value());
      empty |= to[i].value() == 0;
    } else if (i < from.size() && from[i] == to[i]) {
      target.push_back(0);
    } else {
      target.push_back(-1);
      ++left_over;
    }
  }
  const std::string x = c.out.name(node.input(0));
  if (left_over <= 1 && !empty) return c.out.add_as(node.output(), "Reshape", {x, c.out.integers(target)});
  c.out.add_as(node.output(), "Reshape", {x, c.out.sizes(to)}, {{"allowzero", int64_t{empty ? 1 : 0}}});
}

void write_iota(WriteContext& c, const Node& node) {
  const Attrs& a = node.attrs();
  const ir::Dim start = a.shape("start")[0], step = a.integer("step"), count = a.shape("size")[0];
  const std::string all = c.out.add("Range", {c.out.size(start), c.out.size(start + step * count), c.out.size(step)});
  c.out.add_as(node.output(), "Cast", {all}, {{"to", int64_t{data_type_of(a.dtype("dtype"))}}});
}

void write_slice(WriteContext& c, const Node& node) {
  const Attrs& a = node.attrs();
  const auto& steps = a.integers("steps");
  ir::Shape ends = a.shape("ends");
  // -1 is before the first element here, the last one in ONNX.
  for (size_t i = 0; i < ends.size(); ++i)
    if (steps[i] < 0 && ends[i] == ir::Dim(-1)) ends[i] = std::numeric_limits<int32_t>::min();
  c.out.add_as(node.output(), "Slice",
               {c.out.name(node.input(0)), c.out.sizes(a.shape("starts")), c.out.sizes(ends),
                c.out.integers(a.integers("axes")), c.out.integers(steps)});
}

Status write_pad(WriteContext& c, const Node& node) {
  const Attrs& a = node.attrs();
  ir::Shape pads = a.shape("before");
  pads.insert(pads.end(), a.shape("after").begin(), a.shape("after").end());
  Names inputs = {c.out.name(node.input(0)), c.out.sizes(pads)};
  if (a.text("mode") == "constant") inputs.push_back(c.out.number(node.output()->dtype(), a.number("value")));
  c.out.add_as(node.output(), "Pad", inputs, {{"mode", a.text("mode")}});
  return {};
}

// ---- Activations and norms ------------------------------------------------------------------------------------------

constexpr std::string_view kMicrosoft = "com.microsoft";

std::string scaled(WriteContext& c, const std::string& x, DType dtype, double factor) {
  return c.out.add("Mul", {x, c.out.number(dtype, factor)});
}

// The name of activation(x).
Result<std::string> activation(WriteContext& c, const std::string& kind, const std::string& x, DType dtype) {
  if (kind.empty()) return x;
  if (kind == "relu") return c.out.add("Relu", {x});
  if (kind == "tanh") return c.out.add("Tanh", {x});
  if (kind == "sigmoid") return c.out.add("Sigmoid", {x});
  if (kind == "silu") return c.out.add("Mul", {x, c.out.add("Sigmoid", {x})});
  if (kind == "gelu") return c.out.add("Gelu", {x}, {{"approximate", std::string("none")}});
  if (kind == "gelu_tanh") return c.out.add("Gelu", {x}, {{"approximate", std::string("tanh")}});
  if (kind == "gelu_sigmoid") return c.out.add("Mul", {x, c.out.add("Sigmoid", {scaled(c, x, dtype, 1.702)})});
  if (kind == "relu6") return c.out.add("Clip", {x, c.out.number(dtype, 0), c.out.number(dtype, 6)});
  if (kind == "hard_sigmoid") return c.out.add("HardSigmoid", {x}, {{"alpha", 1.0 / 6}});
  if (kind == "hard_swish") return c.out.add("HardSwish", {x});
  return error(ErrorCode::kUnsupported, "there is no ONNX form of the activation '{}'", kind);
}

Status write_gelu(WriteContext& c, const Node& node) {
  const std::string& kind = node.attrs().text("approximate");
  // MatMul + BiasGelu: ONNX Runtime adds the bias on the way.
  const Value* x = node.input(0);
  if (c.microsoft && kind == "none" && x->is(Op::k_linear) && x->has_one_use()) {
    const Node& linear = *x->producer();
    if (linear.input(2) != nullptr && linear.input(3) == nullptr && linear.attrs().text("activation").empty()) {
      const std::string product = c.out.add("MatMul", {c.out.name(linear.input(0)), c.out.name(linear.input(1))});
      c.out.add_as(node.output(), "BiasGelu", {product, c.out.name(linear.input(2))}, {}, kMicrosoft);
      return {};
    }
  }
  TENON_ASSIGN(const std::string y, activation(c, kind == "none" ? "gelu" : "gelu_" + kind, c.out.name(x), x->dtype()));
  c.out.alias(node.output(), y);
  return {};
}

std::string ones(WriteContext& c, const Value& like, int axis) {
  std::vector<int64_t> shape;
  for (int i = axis; i < like.rank(); ++i) shape.push_back(like.shape()[static_cast<size_t>(i)].value());
  return c.out.add("Expand", {c.out.number(like.dtype(), 1), c.out.integers(shape)});
}

Status write_layer_norm(WriteContext& c, const Node& node) {
  const Value *x = node.input(0), *gamma = node.input(1), *beta = node.input(2), *residual = node.input(3);
  const int64_t axis = node.attrs().integer("axis"), first = axis < 0 ? axis + x->rank() : axis;
  const double epsilon = node.attrs().number("epsilon");
  const bool skips = residual != nullptr && gamma != nullptr && x->rank() == 3 && first == 2;
  if (c.microsoft && skips) {
    Names inputs = {c.out.name(x), c.out.name(residual), c.out.name(gamma)};
    if (beta != nullptr) inputs.push_back(c.out.name(beta));
    c.out.add_as(node.output(), "SkipLayerNormalization", inputs, {{"epsilon", epsilon}}, kMicrosoft);
    return {};
  }
  for (int64_t i = first; i < x->rank(); ++i) {
    if (gamma == nullptr && !x->shape()[static_cast<size_t>(i)].is_const())
      return error(ErrorCode::kUnsupported, "a norm over a size that is not known");
  }
  std::string s = c.out.name(x);
  if (residual != nullptr) s = c.out.add("Add", {s, c.out.name(residual)});
  Names inputs = {s, gamma != nullptr ? c.out.name(gamma) : ones(c, *x, static_cast<int>(first))};
  if (beta != nullptr) inputs.push_back(c.out.name(beta));
  c.out.add_as(node.output(), "LayerNormalization", inputs, {{"axis", first}, {"epsilon", epsilon}});
  return {};
}

// By its formula: the standard has an operator for it since opset 23 only.
Status write_rms_norm(WriteContext& c, const Node& node) {
  const Value *x = node.input(0), *gamma = node.input(1), *residual = node.input(2);
  const int64_t axis = node.attrs().integer("axis"), first = axis < 0 ? axis + x->rank() : axis;
  std::vector<int64_t> axes;
  for (int64_t i = first; i < x->rank(); ++i) axes.push_back(i);
  std::string s = c.out.name(x);
  if (residual != nullptr) s = c.out.add("Add", {s, c.out.name(residual)});
  const std::string mean = c.out.add("ReduceMean", {c.out.add("Mul", {s, s}), c.out.integers(axes)});
  const std::string variance = c.out.add("Add", {mean, c.out.number(x->dtype(), node.attrs().number("epsilon"))});
  const std::string scale = c.out.add("Sqrt", {variance});
  if (gamma == nullptr) {
    c.out.add_as(node.output(), "Div", {s, scale});
  } else {
    c.out.add_as(node.output(), "Mul", {c.out.add("Div", {s, scale}), c.out.name(gamma)});
  }
  return {};
}

// ---- Products -------------------------------------------------------------------------------------------------------

Status write_linear(WriteContext& c, const Node& node) {
  std::string y = c.out.add("MatMul", {c.out.name(node.input(0)), c.out.name(node.input(1))});
  if (node.input(2) != nullptr) y = c.out.add("Add", {y, c.out.name(node.input(2))});
  TENON_ASSIGN(y, activation(c, node.attrs().text("activation"), y, node.output()->dtype()));
  if (node.input(3) != nullptr) y = c.out.add("Add", {y, c.out.name(node.input(3))});
  c.out.alias(node.output(), y);
  return {};
}

// Strides, dilations and pads of what slides a window over an image.
Result<OutAttributes> window_attributes(const Node& node) {
  if (node.attrs().integer("channels_last") != 0)
    return error(ErrorCode::kUnsupported, "a {} with channels last cannot be written", ir::op_name(node.op()));
  OutAttributes attributes;
  for (const char* name : {"strides", "dilations"})
    if (const auto& steps = node.attrs().integers(name); !steps.empty()) attributes.push_back({name, steps});
  std::vector<int64_t> pads;
  for (const ir::Dim& pad : node.attrs().shape("pads")) {
    if (!pad.is_const())
      return error(ErrorCode::kUnsupported, "a {} padded by {} cannot be written", ir::op_name(node.op()), pad.to_string());
    pads.push_back(pad.value());
  }
  if (!pads.empty()) attributes.push_back({"pads", pads});
  return attributes;
}

Status write_pool(WriteContext& c, const Node& node) {
  const Attrs& a = node.attrs();
  const bool greatest = node.is(Op::k_max_pool);
  if (greatest && a.integer("indices") != 0)
    return error(ErrorCode::kUnsupported, "a max_pool with indices cannot be written");
  TENON_ASSIGN(OutAttributes attributes, window_attributes(node));
  attributes.push_back({"kernel_shape", a.integers("kernel_shape")});
  attributes.push_back({"ceil_mode", a.integer("ceil_mode")});
  if (!greatest) attributes.push_back({"count_include_pad", a.integer("count_include_pad")});
  c.out.add_as(node.output(), greatest ? "MaxPool" : "AveragePool", input_names(c, node), attributes);
  return {};
}

Status write_conv(WriteContext& c, const Node& node) {
  TENON_ASSIGN(OutAttributes attributes, window_attributes(node));
  attributes.push_back({"group", node.attrs().integer("group")});
  Names inputs = {c.out.name(node.input(0)), c.out.name(node.input(1))};
  if (node.input(2) != nullptr) inputs.push_back(c.out.name(node.input(2)));
  std::string y = c.out.add("Conv", inputs, attributes);
  const auto activated = [&] { return activation(c, node.attrs().text("activation"), y, node.output()->dtype()); };
  const bool of_sum = node.attrs().integer("activate_sum") != 0;
  if (!of_sum) {
    TENON_ASSIGN(y, activated());
  }
  if (node.input(3) != nullptr) y = c.out.add("Add", {y, c.out.name(node.input(3))});
  if (of_sum) {
    TENON_ASSIGN(y, activated());
  }
  c.out.alias(node.output(), y);
  return {};
}

Status write_embedding(WriteContext& c, const Node& node) {
  const bool norm = node.attrs().integer("norm") != 0;
  const int tables = node.num_inputs() - (norm ? 2 : 0);
  std::string sum;
  for (int i = 0; i + 1 < tables; i += 2) {
    const std::string rows =
        c.out.add("Gather", {c.out.name(node.input(i + 1)), c.out.name(node.input(i))}, {{"axis", int64_t{0}}});
    sum = sum.empty() ? rows : c.out.add("Add", {sum, rows});
  }
  if (norm) {
    sum = c.out.add("LayerNormalization", {sum, c.out.name(node.input(tables)), c.out.name(node.input(tables + 1))},
                    {{"axis", int64_t{-1}}, {"epsilon", node.attrs().number("epsilon")}});
  }
  c.out.alias(node.output(), sum);
  return {};
}

}  // namespace

Status write_node(WriteContext& c, const Node& node) {
  const Attrs& a = node.attrs();
  const Value* y = node.output();
  const auto write = [&](std::string_view op, const OutAttributes& attributes = {}) {
    c.out.add_as(y, op, input_names(c, node), attributes);
    return Status();
  };
  for (const SameOp& same : kSame)
    if (node.is(same.op)) return write(same.onnx);
  for (const Reduction& r : kReductions) {
    if (!node.is(r.op)) continue;
    c.out.add_as(y, r.onnx, {c.out.name(node.input(0)), c.out.integers(a.integers("axes"))},
                 {{"keepdims", a.integer("keepdims")}});
    return {};
  }
  switch (node.op()) {
    case Op::k_dims:
      c.out.alias(y, a.integer("scalar") != 0 ? c.out.size(a.shape("values")[0]) : c.out.sizes(a.shape("values")));
      return {};
    case Op::k_iota:
      write_iota(c, node);
      return {};
    case Op::k_reshape:
      write_reshape(c, node);
      return {};
    case Op::k_transpose:
      return write("Transpose", {{"perm", a.integers("perm")}});
    case Op::k_expand:
      c.out.add_as(y, "Expand", {c.out.name(node.input(0)), c.out.sizes(a.shape("shape"))});
      return {};
    case Op::k_tile:
      c.out.add_as(y, "Tile", {c.out.name(node.input(0)), c.out.sizes(a.shape("repeats"))});
      return {};
    case Op::k_slice:
      write_slice(c, node);
      return {};
    case Op::k_pad:
      return write_pad(c, node);
    case Op::k_concat:
      return write("Concat", {{"axis", a.integer("axis")}});
    case Op::k_gather:
      return write("Gather", {{"axis", a.integer("axis")}});
    case Op::k_gather_elements:
      return write("GatherElements", {{"axis", a.integer("axis")}});
    case Op::k_gather_nd:
      return write("GatherND", {{"batch_dims", a.integer("batch_dims")}});
    case Op::k_trilu:
      c.out.add_as(y, "Trilu", {c.out.name(node.input(0)), c.out.integer(a.integer("k"))},
                   {{"upper", a.integer("upper")}});
      return {};
    case Op::k_cumsum:
      c.out.add_as(y, "CumSum", {c.out.name(node.input(0)), c.out.integer(a.integer("axis"))},
                   {{"exclusive", a.integer("exclusive")}, {"reverse", a.integer("reverse")}});
      return {};
    case Op::k_cast:
      return write("Cast", {{"to", int64_t{data_type_of(a.dtype("to"))}}});
    case Op::k_mod:
      return write("Mod", {{"fmod", a.integer("fmod")}});
    case Op::k_leaky_relu:
      return write("LeakyRelu", {{"alpha", a.number("alpha")}});
    case Op::k_rsqrt:
      c.out.add_as(y, "Reciprocal", {c.out.add("Sqrt", input_names(c, node))});
      return {};
    case Op::k_silu:
      c.out.add_as(y, "Mul", {c.out.name(node.input(0)), c.out.add("Sigmoid", input_names(c, node))});
      return {};
    case Op::k_gelu:
      return write_gelu(c, node);
    case Op::k_arg_max:
      return write(
          "ArgMax",
          {{"axis", a.integer("axis")}, {"keepdims", a.integer("keepdims")}, {"select_last_index", a.integer("last")}});
    case Op::k_softmax:
      return write("Softmax", {{"axis", a.integer("axis")}});
    case Op::k_log_softmax:
      return write("LogSoftmax", {{"axis", a.integer("axis")}});
    case Op::k_layer_norm:
      return write_layer_norm(c, node);
    case Op::k_rms_norm:
      return write_rms_norm(c, node);
    case Op::k_conv:
      return write_conv(c, node);
    case Op::k_max_pool:
    case Op::k_average_pool:
      return write_pool(c, node);
    case Op::k_linear:
      return write_linear(c, node);
    case Op::k_attention:
      return write_attention(c, node);
    case Op::k_embedding:
      return write_embedding(c, node);
    default:
      return error(ErrorCode::kUnsupported, "the op {} cannot be written as ONNX", ir::op_name(node.op()));
  }
}

}  // namespace tenon::onnx
