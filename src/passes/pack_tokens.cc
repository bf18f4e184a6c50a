// Padding removal.
//
//   [batch, seq, h] through the encoder   =>   count, offsets = pack_tokens(mask); [tokens, h] through the encoder
//
// Why:      a batch of texts of different lengths is mostly padding; work on rows grows with the tokens that exist.
// Order:    after fuse-attention and fuse-embedding: every use of the mask must be a summand of a whole attention.
// Exact:    any 0/1 mask gives the same answer (holes, left padding, empty rows): rows are gathered by the mask, attention reads
//           its keys as ranges, positions stay the original ones. A token-level output is zero where the mask hides it. A row read
//           by index (CLS) is kept as a query even where the mask hides it as a key.
// Declines: the mask cannot be proved; something else reads masked positions. The graph then stays padded, and says why.
#include <algorithm>
#include <map>

#include "passes/pairwise_bias.h"
#include "passes/passes.h"
#include "passes/position_ids.h"
#include "passes/token_flow.h"

namespace tenon::passes {
namespace {

constexpr const char* kPass = "pack-tokens";

// The summands of an attention's bias: one padding mask, what else it hides, and what is left for the kernel to add.
struct BiasParts {
  PaddingMask mask;
  bool causal = false;
  int64_t window = 0;
  std::vector<Value*> positional;
};

// `rows`: the attention's queries [batch, seq, h]. What is computed from rows at all positions is added to `padded`.
std::optional<BiasParts> split_bias(Value* bias, const Value& rows, std::set<const Node*>& padded, std::string& reason) {
  BiasParts parts;
  for (Value* v : summands_of(bias)) {
    if (depends_on_shapes_only(v)) {
      parts.positional.push_back(v);
      continue;
    }
    auto mask = prove_padding_mask(v, reason);
    if (!mask) {
      std::string other;
      if (!trace_pairwise_bias(v, rows.shape()[0], rows.shape()[1], padded, other)) {
        reason += "; nor is it computed from each query and key alone: " + other;
        return std::nullopt;
      }
      parts.positional.push_back(v);
      continue;
    }
    parts.causal |= mask->causal;
    if (mask->window > 0) parts.window = parts.window > 0 ? std::min(parts.window, mask->window) : mask->window;
    if (mask->root == nullptr) continue;
    if (parts.mask.root != nullptr && (parts.mask.root != mask->root || parts.mask.keeps_ones != mask->keeps_ones)) {
      reason = "two masks are added";
      return std::nullopt;
    }
    parts.mask = *mask;
  }
  if (parts.mask.root == nullptr) {
    reason = "it has no mask";
    return std::nullopt;
  }
  return parts;
}

class Packer {
 public:
  Packer(Graph& graph, const PaddingMask& mask, TokenFlow flow, std::map<const Node*, BiasParts> biases, Decisions& decisions)
      : graph_(graph), rw_(graph, kPass, decisions), mask_(mask), flow_(std::move(flow)), biases_(std::move(biases)),
        batch_(mask.root->shape()[0]), seq_(mask.root->shape()[1]) {}

  Status run() {
    TENON_TRY(make_packing());
    for (const auto& [node, role] : flow_.nodes) {
      rw_.set_anchor(node);
      Status status;
      switch (role) {
        case TokenRole::kSource:
        case TokenRole::kRowWise: status = pack_row_wise(*node); break;
        case TokenRole::kAttention: status = pack_attention(*node); break;
        case TokenRole::kBias: status = pack_bias(*node); break;
        case TokenRole::kAlias: packed_[node->output()] = packed_.at(flow_.rows.at(node->output())); break;
        case TokenRole::kRowRead: status = read_rows(*node); break;
        case TokenRole::kReduce: status = reduce(*node); break;
        case TokenRole::kAnyRead: status = unpack_operands(*node); break;
      }
      if (!status.ok()) return status.with_context(node->describe());
    }
    return unpack_outputs();
  }

 private:
  // The packed form of a value keeps its name with a suffix, by which `tenon verify` compares the two row by row.
  void remember(const Value* padded, Value* rows) {
    rows->set_name(graph_.unique_name(padded->name() + ".packed"));
    packed_[padded] = rows;
  }
  Status make_packing();
  Status pack_row_wise(Node& node);
  Status pack_attention(Node& node);
  Status pack_bias(Node& node);
  Status read_rows(Node& node);
  Status reduce(Node& node);
  Status unpack_operands(Node& node);
  Status unpack_outputs();
  Result<Value*> unpack(Value* rows);

  // An operand of a row-wise node in packed form: packed rows, gathered values per token or position, or the vector itself.
  Result<Value*> packed_operand(Value* v, int rank);
  // The same for what picks rows of a table, whatever its integers' type.
  Result<Value*> packed_ids(Value* v);
  Result<Value*> flatten_tokens(Value* v);  // [batch, seq, …] -> [batch * seq, …]
  Shape packed_shape(const Shape& shape) const {
    Shape out{tokens_};
    out.insert(out.end(), shape.begin() + 2, shape.end());
    return out;
  }
  Result<Value*> reshape(Value* v, Shape shape) { return v->shape() == shape ? Result<Value*>(v) : rw_.create(Op::k_reshape, {v}, {{"shape", std::move(shape)}}); }

  Graph& graph_;
  Rewriter rw_;
  const PaddingMask mask_;
  TokenFlow flow_;
  std::map<const Node*, BiasParts> biases_;
  const Dim batch_, seq_;
  Dim tokens_;
  // pack_tokens' outputs.
  Value *row_offsets_ = nullptr, *key_begin_ = nullptr, *key_end_ = nullptr, *gather_ = nullptr, *positions_ = nullptr, *kept_rows_ = nullptr;
  std::map<const Value*, Value*> packed_;
};

Status Packer::make_packing() {
  // The packing stands where the mask is known: before the first reader of rows, after the mask.
  Node* const first = flow_.nodes.front().first;
  rw_.set_anchor(first);
  Value* mask = mask_.root;
  if (!mask_.keeps_ones) {
    if (mask->dtype() == DType::kBool) {
      TENON_ASSIGN(mask, rw_.create(Op::k_not, {mask}));
    } else {
      TENON_ASSIGN(mask, rw_.create(Op::k_equal, {mask, rw_.constant(Tensor::scalar(mask->dtype(), 0))}));
    }
  }
  std::sort(flow_.keep_positions.begin(), flow_.keep_positions.end());
  tokens_ = Dim::symbol("tokens");
  TENON_ASSIGN(Value * count, rw_.create(Op::k_count_tokens, {mask}, {{"keep_positions", flow_.keep_positions}}));
  graph_.data_symbols["tokens"] = {count, batch_ * seq_};
  TENON_ASSIGN(Value * offsets, rw_.create(Op::k_pack_tokens, {mask}, {{"keep_positions", flow_.keep_positions}, {"tokens", Shape{tokens_}}}));
  const Node* pack = offsets->producer();
  row_offsets_ = pack->output(0);
  key_begin_ = pack->output(1);
  key_end_ = pack->output(2);
  gather_ = pack->output(3);
  positions_ = pack->output(4);
  kept_rows_ = pack->output(5);
  return {};
}

Result<Value*> Packer::flatten_tokens(Value* v) {
  Shape flat{batch_ * seq_};
  flat.insert(flat.end(), v->shape().begin() + 2, v->shape().end());
  return reshape(v, std::move(flat));
}

Result<Value*> Packer::packed_ids(Value* v) {
  const auto ids = trace_position_ids(*v);
  return ids && ids->counts() && v->shape().back() == seq_ ? Result<Value*>(positions_) : packed_operand(v, 2);
}

Result<Value*> Packer::packed_operand(Value* v, int rank) {
  if (v == nullptr) return v;
  if (auto it = packed_.find(v); it != packed_.end()) return it->second;
  // What is the same in all texts is gathered by position.
  if (v->is(Op::k_expand) && v->rank() == rank && v->producer()->input(0)->rank() == rank) {
    Value* text = v->producer()->input(0);
    if (rank >= 2 && text->shape()[0] == Dim(1) && text->shape()[1] == seq_ && std::equal(text->shape().begin() + 2, text->shape().end(), v->shape().begin() + 2)) v = text;
  }
  if (v->rank() == rank && v->rank() >= 2 && v->shape()[0] == batch_ && v->shape()[1] == seq_) {
    TENON_ASSIGN(Value * flat, flatten_tokens(v));
    return rw_.create(Op::k_gather, {flat, gather_}, {{"axis", int64_t{0}}});
  }
  if (v->rank() == rank && v->rank() >= 2 && v->shape()[0] == Dim(1) && v->shape()[1] == seq_) {
    TENON_ASSIGN(Value * flat, reshape(v, Shape(v->shape().begin() + 1, v->shape().end())));
    return rw_.create(Op::k_gather, {flat, positions_}, {{"axis", int64_t{0}}});
  }
  if (v->rank() == rank - 1 && v->rank() >= 1 && v->shape()[0] == seq_ && seq_ != Dim(1)) {
    return rw_.create(Op::k_gather, {v, positions_}, {{"axis", int64_t{0}}});
  }
  // A vector over trailing axes: one leading axis less than the padded form had.
  if (v->rank() == rank) return reshape(v, Shape(v->shape().begin() + 1, v->shape().end()));
  return v;
}

Status Packer::pack_row_wise(Node& node) {
  Attrs attrs = node.attrs();
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  const int rank = node.output()->rank();
  switch (node.op()) {
    case Op::k_embedding: {
      const size_t pairs = inputs.size() - (attrs.integer("norm") != 0 ? 2 : 0);
      for (size_t i = 0; i < pairs; i += 2) {
        TENON_ASSIGN(inputs[i], packed_ids(inputs[i]));
      }
      break;
    }
    case Op::k_gather:
      if (attrs.integer("axis") == 0) {  // a table look-up
        TENON_ASSIGN(inputs[1], packed_ids(inputs[1]));
      } else {
        TENON_ASSIGN(inputs[0], packed_operand(inputs[0], inputs[0]->rank()));
        attrs.set("axis", attrs.integer("axis") - 1);
      }
      break;
    case Op::k_linear:
      for (size_t i : {size_t{0}, size_t{3}}) {
        if (i >= inputs.size()) continue;
        TENON_ASSIGN(inputs[i], packed_operand(inputs[i], rank));
      }
      break;
    case Op::k_reshape: {
      TENON_ASSIGN(inputs[0], packed_operand(inputs[0], inputs[0]->rank()));
      attrs.set("shape", packed_shape(node.output()->shape()));
      break;
    }
    case Op::k_slice: {
      TENON_ASSIGN(inputs[0], packed_operand(inputs[0], rank));
      auto axes = attrs.integers("axes");
      for (int64_t& a : axes) a -= 1;
      attrs.set("axes", axes);
      break;
    }
    case Op::k_layer_norm:
    case Op::k_rms_norm: {
      const size_t residual = node.is(Op::k_layer_norm) ? 3 : 2;
      for (size_t i : {size_t{0}, residual}) {
        if (i >= inputs.size()) continue;
        TENON_ASSIGN(inputs[i], packed_operand(inputs[i], rank));
      }
      break;
    }
    default:
      for (Value*& v : inputs) {
        TENON_ASSIGN(v, packed_operand(v, std::max(rank, v->rank())));
      }
  }
  const ir::AttrValue* axis = attrs.find("axis");
  const bool shifts_axis = axis != nullptr && !node.is(Op::k_gather) && attrs.integer("axis") > 0;
  if (shifts_axis) attrs.set("axis", attrs.integer("axis") - 1);
  if (attrs.find("axes") != nullptr && !node.is(Op::k_slice)) {
    auto axes = attrs.integers("axes");
    for (int64_t& a : axes) a -= 1;
    attrs.set("axes", axes);
  }
  TENON_ASSIGN(Value * rows, rw_.create(node.op(), inputs, attrs));
  remember(node.output(), rows);
  return {};
}

Status Packer::pack_attention(Node& node) {
  Value* bias = nullptr;
  for (Value* v : biases_.at(&node).positional) {
    if (packed_.contains(v)) v = packed_.at(v);
    if (bias == nullptr) {
      bias = v;
    } else {
      TENON_ASSIGN(bias, rw_.create(Op::k_add, {bias, v}));
    }
  }
  std::vector<Value*> inputs{packed_.at(node.input(0)), packed_.at(node.input(1)), packed_.at(node.input(2)), row_offsets_, key_begin_, key_end_};
  Attrs attrs = node.attrs();
  const BiasParts& parts = biases_.at(&node);
  if (parts.causal) attrs.set("causal", int64_t{1});
  if (parts.window > 0) attrs.set("window", attrs.integer("window") > 0 ? std::min(attrs.integer("window"), parts.window) : parts.window);
  const bool by_position = bias != nullptr || attrs.integer("causal") != 0 || attrs.integer("window") != 0;
  if (by_position) inputs.insert(inputs.end(), {positions_, positions_, bias});
  TENON_ASSIGN(Value * rows, rw_.create(Op::k_attention, inputs, attrs));
  remember(node.output(), rows);
  return {};
}

Status Packer::pack_bias(Node& node) {
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  inputs.resize(6);
  inputs[0] = packed_.at(inputs[0]);
  inputs[1] = packed_.at(inputs[1]);
  inputs.insert(inputs.end(), {row_offsets_, key_begin_, key_end_, positions_, positions_});
  TENON_ASSIGN(Value * bias, rw_.create(Op::k_disentangled_bias, inputs, node.attrs()));
  packed_[node.output()] = bias;
  graph_.replace_all_uses(node.output(), bias);
  return {};
}

Status Packer::read_rows(Node& node) {
  Value* rows = packed_.at(node.input(0));
  const std::vector<int64_t> positions = positions_read(node);
  // kept_rows[:, i] for each position, in the order that the node reads them.
  std::vector<int64_t> columns;
  for (int64_t p : positions) columns.push_back(std::find(flow_.keep_positions.begin(), flow_.keep_positions.end(), p) - flow_.keep_positions.begin());
  TENON_ASSIGN(Value * columns_of_rows, rw_.create(Op::k_gather, {kept_rows_, rw_.constant(Tensor::ints(columns))}, {{"axis", int64_t{1}}}));
  TENON_ASSIGN(Value * index, reshape(columns_of_rows, {batch_ * Dim(static_cast<int64_t>(columns.size()))}));
  TENON_ASSIGN(Value * read, rw_.create(Op::k_gather, {rows, index}, {{"axis", int64_t{0}}}));
  TENON_ASSIGN(Value * shaped, reshape(read, node.output()->shape()));
  graph_.replace_all_uses(node.output(), shaped);
  return {};
}

Status Packer::reduce(Node& node) {
  const std::string kind = node.is(Op::k_reduce_max) ? "max" : "sum";
  TENON_ASSIGN(Value * sums, rw_.create(Op::k_segment_reduce, {packed_.at(node.input(0)), key_begin_, key_end_}, {{"kind", kind}}));
  TENON_ASSIGN(Value * shaped, reshape(sums, node.output()->shape()));
  graph_.replace_all_uses(node.output(), shaped);
  return {};
}

Result<Value*> Packer::unpack(Value* rows) {
  return rw_.create(Op::k_unpack_tokens, {packed_.at(rows), gather_, row_offsets_, key_begin_}, {{"shape", Shape{batch_, seq_}}});
}

Status Packer::unpack_operands(Node& node) {
  for (int i = 0; i < node.num_inputs(); ++i) {
    Value* rows = node.input(i);
    if (!packed_.contains(rows)) continue;
    TENON_ASSIGN(Value * padded, unpack(rows));
    graph_.set_input(&node, i, padded);
  }
  return {};
}

Status Packer::unpack_outputs() {
  rw_.set_anchor(nullptr);
  for (size_t i = 0; i < graph_.outputs().size(); ++i) {
    Value* rows = graph_.outputs()[i].value;
    if (!packed_.contains(rows)) continue;
    TENON_ASSIGN(Value * padded, unpack(rows));
    std::string name = rows->name();
    rows->set_name(graph_.unique_name(name + ".padded"));
    padded->set_name(std::move(name));
    graph_.set_output(i, padded);
  }
  return {};
}

}  // namespace

Status pack_tokens(Graph& graph, Decisions& decisions) {
  Rewriter log(graph, kPass, decisions);
  std::map<const Node*, BiasParts> biases;
  std::set<const Node*> padded;  // compute biases from rows, at all positions
  PaddingMask mask;
  const auto decline = [&](const Node& node, std::string reason) {
    (void)log.decline(node, "stays padded: " + std::move(reason));
    return Status();
  };
  for (const auto& node : graph.nodes()) {
    if (!node->is(Op::k_attention) || node->input(3) != nullptr) continue;
    if (node->input(8) == nullptr) return decline(*node, "this attention has no mask");
    std::string reason;
    auto parts = split_bias(node->input(8), *node->input(0), padded, reason);
    if (!parts) return decline(*node, "its mask is not a padding mask: " + reason);
    if (mask.root != nullptr && (mask.root != parts->mask.root || mask.keeps_ones != parts->mask.keeps_ones)) {
      return decline(*node, "attentions have different masks");
    }
    mask = parts->mask;
    biases.emplace(node.get(), std::move(*parts));
  }
  if (mask.root == nullptr) return {};
  std::string reason;
  auto flow = trace_tokens(graph, mask, padded, reason);
  if (!flow) return decline(*biases.begin()->first, reason);
  for (const auto& [node, parts] : biases) {
    const bool reached = std::any_of(flow->nodes.begin(), flow->nodes.end(), [&, n = node](const auto& entry) { return entry.first == n; });
    if (!reached) return decline(*node, "its rows do not come from embeddings of [batch, seq] ids");
  }
  // The packing needs the mask, which must stand before the first node on rows.
  Node* first = flow->nodes.front().first;
  const std::string what = fmt::format("mask %{} ({} kept), {} attentions, {} kept positions", mask.root->name(), mask.keeps_ones ? "ones" : "zeros",
                                       biases.size(), flow->keep_positions.size());
  (void)log.changed(*first, what);
  TENON_TRY(Packer(graph, mask, std::move(*flow), std::move(biases), decisions).run());
  TENON_TRY(eliminate_dead_code(graph, decisions));
  return graph.sort();
}

}  // namespace tenon::passes
