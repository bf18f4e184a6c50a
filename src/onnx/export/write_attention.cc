// Attention as ONNX: com.microsoft's operators, or its formula in standard ones.
#include <limits>

#include "onnx/export/write_ops.h"

namespace tenon::onnx {
namespace {

using ir::Node;
using ir::Value;

enum Input { kQ, kK, kV, kBias = 8 };

struct Form {
  explicit Form(const Node& node)
      : heads(node.attrs().integer("heads")),
        kv_heads(node.attrs().integer("kv_heads")),
        head_dim(node.attrs().integer("head_dim")),
        window(node.attrs().integer("window")),
        causal(node.attrs().integer("causal") != 0),
        scale(node.attrs().number("scale")),
        columns(node.attrs().integers("columns")) {
    if (kv_heads == 0) kv_heads = heads;
  }
  int64_t width(int input) const { return (input == kQ ? heads : kv_heads) * head_dim; }

  int64_t heads, kv_heads, head_dim, window;
  bool causal;
  double scale;
  std::vector<int64_t> columns;
};

// The columns of q, k or v among those of its rows.
std::string own_columns(WriteContext& c, const Node& node, const Form& form, int input) {
  const Value* rows = node.input(input);
  const int64_t begin = form.columns[static_cast<size_t>(input)], end = begin + form.width(input);
  if (begin == 0 && rows->shape().back() == ir::Dim(end)) return c.out.name(rows);
  return c.out.add("Slice", {c.out.name(rows), c.out.integers({begin}), c.out.integers({end}), c.out.integers({2})});
}

// Added to the scores, [batch or 1, heads or 1, q_len, k_len]: the bias, and -inf where causal or window hide a key.
// Empty: nothing is added.
std::string score_bias(WriteContext& c, const Node& node, const Form& form) {
  const Value* bias = node.input(kBias);
  const std::string given = c.out.name(bias);
  const bool by_position = form.causal || form.window > 0;
  // A bias of each query may hide all its keys: the least number keeps such a row, which is padding, from NaN.
  const auto finite = [&](const std::string& sum) {
    const double least = -largest_finite(bias->dtype());
    return c.out.add("Max", {sum, c.out.number(bias->dtype(), least)});
  };
  if (!by_position) return bias != nullptr && bias->shape()[2] != ir::Dim(1) ? finite(given) : given;
  const auto positions = [&](int input, int64_t axis) {
    const std::string all =
        c.out.add("Range", {c.out.integer(0), c.out.size(node.input(input)->shape()[1]), c.out.integer(1)});
    return c.out.add("Unsqueeze", {all, c.out.integers({axis})});
  };
  const std::string apart = c.out.add("Sub", {positions(kK, 0), positions(kQ, 1)});  // [q_len, k_len]
  std::string hidden;
  if (form.causal) hidden = c.out.add("Greater", {apart, c.out.integer(0)});
  if (form.window > 0) {
    const std::string far = c.out.add("Greater", {c.out.add("Abs", {apart}), c.out.integer(form.window)});
    hidden = hidden.empty() ? far : c.out.add("Or", {hidden, far});
  }
  const DType dtype = node.output()->dtype();
  const std::string added = c.out.add(
      "Where", {hidden, c.out.number(dtype, -std::numeric_limits<double>::infinity()), c.out.number(dtype, 0)});
  const std::string whole = c.out.add("Unsqueeze", {added, c.out.integers({0, 1})});
  return bias == nullptr ? whole : finite(c.out.add("Add", {given, whole}));
}

// One product of x for all three, whose columns follow each other: Attention takes x and the weights themselves.
const Node* merged_projection(const Node& node, const Form& form) {
  const Value* rows = node.input(kQ);
  if (rows != node.input(kK) || rows != node.input(kV) || !rows->is(ir::Op::k_linear) || rows->uses().size() != 3)
    return nullptr;
  const Node& linear = *rows->producer();
  const int64_t width = form.width(kQ);
  const bool in_order = form.columns == std::vector<int64_t>{0, width, 2 * width} && form.kv_heads == form.heads;
  const bool plain = linear.input(3) == nullptr && linear.attrs().text("activation").empty();
  return in_order && plain && rows->shape().back() == ir::Dim(3 * width) ? &linear : nullptr;
}

Status write_microsoft(WriteContext& c, const Node& node, const Form& form) {
  const OutAttributes attributes = {{"num_heads", form.heads}, {"scale", form.scale}};
  std::string bias = score_bias(c, node, form);
  // There every query has its own row of biases.
  if (const Value* given = node.input(kBias); given != nullptr && given->shape()[2] != node.input(kQ)->shape()[1]) {
    const ir::Shape& shape = given->shape();
    bias = c.out.add("Expand", {bias, c.out.sizes({shape[0], shape[1], node.input(kQ)->shape()[1], shape[3]})});
  }
  if (const Node* linear = merged_projection(node, form)) {
    std::string shift = c.out.name(linear->input(2));
    if (shift.empty()) {  // the operator's documentation lets it be left out, ONNX Runtime 1.2x then crashes on CPUs
      std::byte* zeros = nullptr;
      TENON_ASSIGN(const ir::Tensor none, ir::Tensor::allocate(node.output()->dtype(), {3 * form.width(kQ)}, &zeros));
      shift = c.out.tensor(none);
    }
    c.out.add_as(node.output(), "Attention",
                 {c.out.name(linear->input(0)), c.out.name(linear->input(1)), shift, "", "", bias}, attributes,
                 "com.microsoft");
    return {};
  }
  c.out.add_as(
      node.output(), "MultiHeadAttention",
      {own_columns(c, node, form, kQ), own_columns(c, node, form, kK), own_columns(c, node, form, kV), "", "", bias},
      attributes, "com.microsoft");
  return {};
}

Status write_formula(WriteContext& c, const Node& node, const Form& form) {
  const DType dtype = node.output()->dtype();
  // [batch, len, width] -> [batch, heads, len, head_dim], or keys as [batch, heads, head_dim, len]
  const auto heads_of = [&](int input) {
    const int64_t heads = input == kQ ? form.heads : form.kv_heads;
    const std::string split =
        c.out.add("Reshape", {own_columns(c, node, form, input), c.out.integers({0, 0, heads, form.head_dim})});
    const std::vector<int64_t> perm = input == kK ? std::vector<int64_t>{0, 2, 3, 1} : std::vector<int64_t>{0, 2, 1, 3};
    const std::string own = c.out.add("Transpose", {split}, {{"perm", perm}});
    if (heads == form.heads) return own;
    // Each head of k and v serves a group of query heads.
    const std::string apart = c.out.add("Unsqueeze", {own, c.out.integers({2})});
    const std::string repeated = c.out.add("Tile", {apart, c.out.integers({1, 1, form.heads / heads, 1, 1})});
    const ir::Dim length = node.input(input)->shape()[1], batch = node.input(input)->shape()[0];
    const ir::Shape shape = input == kK ? ir::Shape{batch, form.heads, form.head_dim, length}
                                        : ir::Shape{batch, form.heads, length, form.head_dim};
    return c.out.add("Reshape", {repeated, c.out.sizes(shape)});
  };
  const std::string q = c.out.add("Mul", {heads_of(kQ), c.out.number(dtype, form.scale)});
  std::string scores = c.out.add("MatMul", {q, heads_of(kK)});
  if (const std::string bias = score_bias(c, node, form); !bias.empty()) scores = c.out.add("Add", {scores, bias});
  const std::string context =
      c.out.add("MatMul", {c.out.add("Softmax", {scores}, {{"axis", int64_t{-1}}}), heads_of(kV)});
  const std::string rows = c.out.add("Transpose", {context}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  c.out.add_as(node.output(), "Reshape", {rows, c.out.integers({0, 0, form.width(kQ)})});
  return {};
}

}  // namespace

Status write_attention(WriteContext& c, const Node& node) {
  const Form form(node);
  if (node.input(3) != nullptr || node.input(kQ)->rank() != 3)
    return error(ErrorCode::kUnsupported, "attention over packed rows cannot be written as ONNX");
  const bool plain = form.kv_heads == form.heads;
  return c.microsoft && plain ? write_microsoft(c, node, form) : write_formula(c, node, form);
}

}  // namespace tenon::onnx
