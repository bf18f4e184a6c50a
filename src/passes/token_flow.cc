#include "passes/token_flow.h"

#include <algorithm>
#include <cmath>

#include "ops/interpret.h"

namespace tenon::passes {
namespace {

class Tracer {
 public:
  // The nodes `before` make no rows: what they compute stays at all positions.
  Tracer(Graph& graph, const PaddingMask& mask, const std::set<const Node*>& padded, const std::set<const Node*>& before)
      : graph_(graph), mask_(mask), padded_(padded), before_(before), batch_(mask.root->shape()[0]), seq_(mask.root->shape()[1]) {}

  std::optional<TokenFlow> trace(std::string& reason) {
    for (const auto& node : graph_.nodes()) {
      if (!visit(*node)) {
        refused_ = node.get();
        reason = node->describe() + " " + reason_;
        return std::nullopt;
      }
    }
    for (const ir::Output& out : graph_.outputs())
      if (flow_.rows.contains(out.value)) flow_.outputs.push_back(out.value);
    return std::move(flow_);
  }

  // After a refusal: adds the nodes that made the rows which the refusing node reads. False where it reads none, or an
  // attention is among them.
  bool find_makers(std::set<const Node*>& makers) const;

 private:
  bool is_rows(const Value* v) const { return v != nullptr && flow_.rows.contains(v); }
  bool over_tokens(const Value* v) const { return v->rank() >= 2 && v->shape()[0] == batch_ && v->shape()[1] == seq_; }
  bool refuse(const char* why) {
    reason_ = why;
    return false;
  }
  bool accept(Node& node, TokenRole role, bool makes_rows = true) {
    flow_.nodes.emplace_back(&node, role);
    if (makes_rows)
      for (int i = 0; i < node.num_outputs(); ++i) flow_.rows[node.output(i)] = node.output(i);
    return true;
  }

  bool visit(Node& node);
  bool visit_elementwise(Node& node);
  bool visit_shape(Node& node);
  bool visit_reduction(Node& node);
  // What the element of `v` is at hidden and kept positions, where it depends on the mask alone.
  std::optional<std::pair<double, double>> mask_values(Value* v) const;

  Graph& graph_;
  const PaddingMask& mask_;
  const std::set<const Node*>&padded_, &before_;
  const Dim batch_, seq_;
  TokenFlow flow_;
  std::set<const Value*> late_;  // not rows, but computed from what the nodes `before` give
  const Node* refused_ = nullptr;
  std::string reason_;
  std::map<const Value*, double> hidden_;  // rows whose masked positions hold a known number
};

std::optional<std::pair<double, double>> Tracer::mask_values(Value* v) const {
  if (v->rank() < 2) return std::nullopt;
  std::vector<Coordinate> at(static_cast<size_t>(v->rank()), Coordinate::any());
  at[0] = Coordinate::batch();
  at[1] = Coordinate::key();
  const MaskProof proof = evaluate_mask(v, at);
  if (!proof.table || proof.table->root != mask_.root) return std::nullopt;
  const auto& n = proof.table->number;  // bits: query * 2 + key; the query does not occur
  return mask_.keeps_ones ? std::pair(n[0], n[1]) : std::pair(n[1], n[0]);
}

bool Tracer::find_makers(std::set<const Node*>& makers) const {
  std::vector<const Node*> left{refused_};
  const size_t known = makers.size();
  while (!left.empty()) {
    const Node* node = left.back();
    left.pop_back();
    for (const Value* v : node->inputs()) {
      if (!is_rows(v) || !makers.insert(v->producer()).second) continue;
      if (v->is(Op::k_attention)) return false;
      left.push_back(v->producer());
    }
  }
  return makers.size() > known;
}

bool Tracer::visit(Node& node) {
  bool reads_rows = false, reads_late = false;
  for (const Value* v : node.inputs()) {
    reads_rows |= is_rows(v);
    reads_late |= late_.contains(v);
  }
  if (before_.contains(&node) || (reads_late && !reads_rows)) {
    // Beyond what mixes neighbours, rows begin at a product.
    const Value* x = node.input(0);
    const bool begins = !before_.contains(&node) && node.is(Op::k_linear) && x->rank() == 3 && over_tokens(x) && node.input(3) == nullptr;
    if (begins) return accept(node, TokenRole::kRowWise);
    for (int i = 0; i < node.num_outputs(); ++i) late_.insert(node.output(i));
    return true;
  }
  if (!reads_rows) {
    // Rows begin where ids of [batch, seq] become vectors.
    const bool looks_up = node.is(Op::k_embedding) || (node.is(Op::k_gather) && node.attrs().integer("axis") == 0 && node.input(0)->rank() == 2 &&
                                                       ops::is_constant_expression(*node.input(0)));
    if (looks_up && node.output()->rank() == 3 && over_tokens(node.output())) return accept(node, TokenRole::kSource);
    return true;
  }
  if (padded_.contains(&node)) return accept(node, TokenRole::kAnyRead, false);
  switch (node.op()) {
    case Op::k_linear:
      if (!is_rows(node.input(0)) || (node.input(3) != nullptr && !is_rows(node.input(3)))) return refuse("mixes rows of tokens with other values");
      return accept(node, TokenRole::kRowWise);
    case Op::k_layer_norm:
    case Op::k_rms_norm:
    case Op::k_softmax:
    case Op::k_log_softmax: {
      const int64_t axis = node.attrs().integer("axis");
      if (axis >= 0 && axis < 2) return refuse("normalises over the sequence, masked positions included");
      return accept(node, TokenRole::kRowWise);
    }
    case Op::k_attention:
      if (!is_rows(node.input(0)) || !is_rows(node.input(1)) || !is_rows(node.input(2))) return refuse("attends between packed and other rows");
      return accept(node, TokenRole::kAttention);
    case Op::k_disentangled_bias:
      if (!is_rows(node.input(0)) || !is_rows(node.input(1))) return refuse("lies between packed and other rows");
      return accept(node, TokenRole::kBias, false);
    case Op::k_reshape:
    case Op::k_slice:
    case Op::k_gather:
    case Op::k_concat: return visit_shape(node);
    case Op::k_gather_nd:
    case Op::k_gather_elements:
      if (!is_rows(node.input(0)) || is_rows(node.input(1))) return refuse("reads positions of tokens in a way that is not followed");
      return accept(node, TokenRole::kAnyRead, false);
    case Op::k_reduce_sum:
    case Op::k_reduce_mean:
    case Op::k_reduce_max:
    case Op::k_reduce_min:
    case Op::k_reduce_l2: return visit_reduction(node);
    default:
      if (ops::op_def(node.op()).locality == ops::Locality::kElementwise || node.is(Op::k_where) || node.is(Op::k_cast)) return visit_elementwise(node);
      return refuse("reads rows at masked positions");
  }
}

bool Tracer::visit_elementwise(Node& node) {
  const int rank = node.output()->rank();
  for (int i = 0; i < node.num_inputs(); ++i) {
    Value* v = node.input(i);
    if (is_rows(v)) {
      if (v->rank() != rank) return refuse("broadcasts rows of tokens to more axes");
      continue;
    }
    // Vectors over the last axis, values per token and values per position can be packed; values per sequence could not.
    const bool per_token = v->rank() == rank && over_tokens(v);
    const bool per_position = v->rank() == rank && v->shape()[0] == Dim(1) && v->shape()[1] == seq_;
    const bool vector = v->rank() <= rank - 2 || (v->rank() == rank - 1 && v->shape()[0] == Dim(1)) ||
                        (v->rank() == rank && v->shape()[0] == Dim(1) && v->shape()[1] == Dim(1));
    const bool shared = v->rank() == rank - 1 && v->shape()[0] == seq_;  // [seq, h] against [batch, seq, h]
    if (!per_token && !per_position && !vector && !shared) return refuse("mixes rows of tokens with one value per sequence");
  }
  // A product with the mask changes masked rows only: on kept rows it is its operand.
  if (node.is(Op::k_mul)) {
    for (int i : {0, 1}) {
      Value *x = node.input(i), *other = node.input(1 - i);
      if (!is_rows(x) || is_rows(other)) continue;
      const auto values = mask_values(other);
      if (!values || values->second != 1 || x->shape() != node.output()->shape()) continue;
      hidden_[node.output()] = values->first == 0 ? 0 : std::nan("");
      accept(node, TokenRole::kAlias);
      flow_.rows[node.output()] = flow_.rows.at(x);
      return true;
    }
  }
  if (node.is(Op::k_where)) {
    const auto values = !is_rows(node.input(0)) ? mask_values(node.input(0)) : std::nullopt;
    if (values && values->first != values->second) {
      const int kept = values->second != 0 ? 1 : 2;
      const Tensor* fill = node.input(3 - kept)->constant();
      const auto uniform = fill != nullptr ? fill->uniform_value() : std::nullopt;
      if (uniform && is_rows(node.input(kept))) {
        hidden_[node.output()] = *uniform;
        accept(node, TokenRole::kAlias);
        flow_.rows[node.output()] = flow_.rows.at(node.input(kept));
        return true;
      }
    }
  }
  return accept(node, TokenRole::kRowWise);
}

bool Tracer::visit_shape(Node& node) {
  Value* x = node.input(0);
  const Value* out = node.output();
  if (node.is(Op::k_reshape)) {
    if (over_tokens(out)) return accept(node, TokenRole::kRowWise);
    return refuse("reshapes rows of tokens across the sequence");
  }
  if (node.is(Op::k_concat)) {
    const int64_t axis = node.attrs().integer("axis");
    for (const Value* v : node.inputs())
      if (!is_rows(v)) return refuse("joins rows of tokens with other values");
    return axis == -1 || axis >= 2 ? accept(node, TokenRole::kRowWise) : refuse("joins sequences");
  }
  if (!is_rows(x)) return refuse("uses rows of tokens as indices");
  bool along_sequence = false, along_batch = false;
  if (node.is(Op::k_slice)) {
    for (int64_t axis : node.attrs().integers("axes")) {
      along_sequence |= axis == 1;
      along_batch |= axis == 0;
    }
  } else {
    along_sequence = node.attrs().integer("axis") == 1;
    along_batch = node.attrs().integer("axis") == 0;
  }
  if (along_batch) return refuse("picks sequences out of a batch");
  if (!along_sequence) return is_rows(node.input(1)) ? refuse("uses rows of tokens as indices") : accept(node, TokenRole::kRowWise);
  const std::vector<int64_t> positions = positions_read(node);
  if (positions.empty()) return refuse("reads positions of the sequence that are not fixed");
  for (int64_t p : positions)
    if (std::find(flow_.keep_positions.begin(), flow_.keep_positions.end(), p) == flow_.keep_positions.end()) flow_.keep_positions.push_back(p);
  return accept(node, TokenRole::kRowRead, false);
}

bool Tracer::visit_reduction(Node& node) {
  const auto& axes = node.attrs().integers("axes");
  const bool over_sequence = std::any_of(axes.begin(), axes.end(), [](int64_t a) { return a < 2; });
  if (!over_sequence) {
    // Reduced trailing axes leave rows, as long as [batch, seq] stay in front.
    return over_tokens(node.output()) ? accept(node, TokenRole::kRowWise) : refuse("reduces tokens in a way that is not followed");
  }
  if (axes != std::vector<int64_t>{1}) return refuse("reduces over sequences");
  const auto hidden = hidden_.find(node.input(0));
  const bool sums_zeros = node.is(Op::k_reduce_sum) && hidden != hidden_.end() && hidden->second == 0;
  const bool skips_lowest = node.is(Op::k_reduce_max) && hidden != hidden_.end() && hidden->second <= -1e4;
  if (!sums_zeros && !skips_lowest) return refuse("reduces over all positions, masked ones included");
  return accept(node, TokenRole::kReduce, false);
}

}  // namespace

std::vector<int64_t> positions_read(const Node& node) {
  if (node.is(Op::k_gather)) {
    const Tensor* index = node.input(1)->constant();
    if (index == nullptr || !index->has_data() || index->numel() > 16) return {};
    std::vector<int64_t> positions;
    for (int64_t i = 0; i < index->numel(); ++i) positions.push_back(index->int_at(i));
    return positions;
  }
  const auto& axes = node.attrs().integers("axes");
  if (axes.size() != 1 || node.attrs().integers("steps")[0] != 1) return {};
  const Dim start = node.attrs().shape("starts")[0], size = node.output()->shape()[1];
  if (!size.is_const() || size.value() > 16) return {};
  // From the front at a constant, or from the end at seq - c.
  const Dim from_end = start - node.input(0)->shape()[1];
  if (!start.is_const() && !from_end.is_const()) return {};
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < size.value(); ++i) positions.push_back((start.is_const() ? start : from_end).value() + i);
  return positions;
}

std::optional<TokenFlow> trace_tokens(Graph& graph, const PaddingMask& mask, const std::set<const Node*>& padded,
                                      std::string& reason) {
  // Embeddings may mix neighbours (MobileBERT's do): then all that makes them stays padded, and rows begin behind it.
  constexpr int kMostTries = 32;
  std::set<const Node*> before;
  for (int tries = 0; tries < kMostTries; ++tries) {
    Tracer tracer(graph, mask, padded, before);
    auto flow = tracer.trace(reason);
    if (flow || !tracer.find_makers(before)) return flow;
  }
  return std::nullopt;
}

}  // namespace tenon::passes
