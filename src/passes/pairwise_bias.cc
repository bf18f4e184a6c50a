#include "passes/pairwise_bias.h"

#include "ops/op_def.h"
#include "passes/padding_proof.h"

namespace tenon::passes {
namespace {

// Steps after which an expression counts as too large to follow.
constexpr int kMostSteps = 5000;

class PairTracer {
 public:
  PairTracer(const Dim& batch, const Dim& seq, IndexBounds bounds, std::set<const Node*>& nodes)
      : batch_(batch), seq_(seq), bounds_(std::move(bounds)), nodes_(nodes) {}

  // True where the elements of `v` at `at` are computed from rows q and k of sequence b alone.
  bool follow(Value* v, const std::vector<Coordinate>& at);
  const std::string& reason() const { return reason_; }

 private:
  bool through(const Node& node, const std::vector<Coordinate>& at);
  bool reads_pair(const Value& rows, const std::vector<Coordinate>& at);
  bool fail(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
    return false;
  }

  const Dim batch_, seq_;
  const IndexBounds bounds_;
  std::set<const Node*>& nodes_;
  int steps_ = 0;
  std::string reason_;
};

bool PairTracer::follow(Value* v, const std::vector<Coordinate>& at) {
  if (++steps_ > kMostSteps) return fail("its expression is too large");
  if (depends_on_shapes_only(v)) return true;
  if (v->rank() == 3 && v->shape()[0] == batch_ && v->shape()[1] == seq_) return reads_pair(*v, at);
  if (v->is_input()) return fail("it depends on the input %" + v->name());
  if (v->is(Op::k_disentangled_bias)) {
    const std::vector<Coordinate> own{Coordinate::batch(), Coordinate::head(), Coordinate::query(), Coordinate::key()};
    const auto same = [](const Coordinate& a, const Coordinate& b) { return !a.free && a.index == b.index; };
    return std::ranges::equal(at, own, same) || fail("it reads other rows than its query's and key's");
  }
  nodes_.insert(v->producer());
  return through(*v->producer(), at);
}

bool PairTracer::reads_pair(const Value& rows, const std::vector<Coordinate>& at) {
  const auto is = [&](size_t axis, const Coordinate& wanted) {
    return rows.shape()[axis] == Dim(1) || (!at[axis].free && at[axis].index == wanted.index);
  };
  const bool pair = is(0, Coordinate::batch()) && (is(1, Coordinate::query()) || is(1, Coordinate::key()));
  return pair || fail("it reads other rows of %" + rows.name() + " than its query's and key's");
}

bool PairTracer::through(const Node& node, const std::vector<Coordinate>& at) {
  const ir::Attrs& attrs = node.attrs();
  Value* x = node.input(0);
  switch (node.op()) {
    case Op::k_reshape: {
      const auto where = bounds_.through_reshape(*x, *node.output(), at);
      return where ? follow(x, *where) : fail("it is reshaped by " + node.describe());
    }
    case Op::k_transpose: {
      std::vector<Coordinate> where(at.size());
      for (size_t i = 0; i < at.size(); ++i) where[static_cast<size_t>(attrs.integers("perm")[i])] = at[i];
      return follow(x, where);
    }
    case Op::k_expand:
      return follow(x, broadcast_at(*x, at));
    case Op::k_matmul: {
      Value* y = node.input(1);
      if (x->rank() < 2 || y->rank() < 2) return fail("it goes through " + node.describe());
      std::vector<Coordinate> row = at, column = at;
      row.back() = column[column.size() - 2] = Coordinate::any();
      return follow(x, broadcast_at(*x, row)) && follow(y, broadcast_at(*y, column));
    }
    case Op::k_gather_elements: {
      if (!depends_on_shapes_only(node.input(1))) return fail("its indices depend on contents at " + node.describe());
      const int64_t axis = attrs.integer("axis");
      std::vector<Coordinate> where = at;
      where[static_cast<size_t>(axis < 0 ? axis + x->rank() : axis)] = Coordinate::any();
      return follow(x, where);
    }
    default:
      if (ops::op_def(node.op()).locality != ops::Locality::kElementwise && !node.is(Op::k_cast) &&
          !node.is(Op::k_where))
        return fail("it goes through " + node.describe());
      for (Value* operand : node.inputs())
        if (!follow(operand, broadcast_at(*operand, at))) return false;
      return true;
  }
}

// Nobody but attentions, and sums on the way to them, reads what is computed from rows.
bool ends_in_attentions(const Value& v, const std::set<const Node*>& nodes) {
  if (v.is_output()) return false;
  for (const ir::Use& use : v.uses()) {
    if (nodes.contains(use.node) || use.node->is(Op::k_attention)) continue;
    if (!use.node->is(Op::k_add) || !ends_in_attentions(*use.node->output(), nodes)) return false;
  }
  return true;
}

}  // namespace

bool trace_pairwise_bias(Value* bias, const Dim& batch, const Dim& seq, std::set<const Node*>& nodes,
                         std::string& reason) {
  if (bias->rank() != 4) {
    reason = "the bias %" + bias->name() + " has not four axes";
    return false;
  }
  const std::vector<Coordinate> element{Coordinate::batch(), Coordinate::head(), Coordinate::query(),
                                        Coordinate::key()};
  const std::vector<Coordinate> at = broadcast_at(*bias, element);
  PairTracer tracer(batch, seq, IndexBounds::of(*bias, at), nodes);
  if (!tracer.follow(bias, at)) {
    reason = tracer.reason();
    return false;
  }
  for (const Node* node : nodes) {
    if (ends_in_attentions(*node->output(), nodes)) continue;
    reason = "more than attentions reads " + node->describe();
    return false;
  }
  return true;
}

}  // namespace tenon::passes
