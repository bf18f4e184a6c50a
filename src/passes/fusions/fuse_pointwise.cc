// A chain of elementwise ops, each read by the next alone   ->   pointwise(inputs) {program}
// pointwise(slice(x, columns), …)                           ->   pointwise(x, …) {program, columns}
// pointwise(gather(x, halves of columns swapped), …)        ->   pointwise(x, …) {program, columns, halves}
//
// Why:      one pass over memory instead of one per op.
// Order:    last: what linear, norms and gelu can absorb is gone by now.
// Declines: types other than f32; a value with several readers ends a chain.
#include <algorithm>
#include <map>

#include "ops/interpret.h"
#include "ops/pointwise_program.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

constexpr int kMaxInputs = 8;
constexpr int kMaxInstructions = 32;

// The program's name for an op; empty when it has none.
std::string instruction_name(const Node& node) {
  if (ops::op_def(node.op()).locality != ops::Locality::kElementwise || node.output()->dtype() != DType::kF32) return "";
  for (const Value* v : node.inputs())
    if (v == nullptr || v->dtype() != DType::kF32) return "";
  switch (node.op()) {
    case Op::k_gelu: {
      const std::string& kind = node.attrs().text("approximate");
      return kind == "none" ? "gelu" : "gelu_" + kind;
    }
    case Op::k_leaky_relu:
    case Op::k_mod: return "";  // they carry attributes that programs do not
    case Op::k_pointwise: return "";  // a program, not one of its instructions
    default: return std::string(ir::op_name(node.op()));
  }
}

class Program {
 public:
  explicit Program(const Node& root) : root_(root) {}

  // Writes the instructions of `node`, operands first, as many of these as there is room for. False when it has too many inputs.
  bool add(const Node& node) {
    std::string operands;
    ++begun_;
    for (Value* v : node.inputs()) {
      const auto operand = operand_of(v);
      if (!operand) {
        --begun_;
        return false;
      }
      operands += (operands.empty() ? "" : ",") + *operand;
    }
    --begun_;
    written_.names[node.output()] = fmt::format("t{}", written_.count);
    written_.text += fmt::format("{}t{}={}({})", written_.count ? ";" : "", written_.count, instruction_name(node), operands);
    ++written_.count;
    return true;
  }
  int count() const { return written_.count; }
  const std::string& text() const { return written_.text; }
  const std::vector<Value*>& inputs() const { return written_.inputs; }
  const std::vector<const Node*>& absorbed() const { return written_.absorbed; }

 private:
  std::optional<std::string> operand_of(Value* v) {
    if (auto it = written_.names.find(v); it != written_.names.end()) return it->second;
    if (const Tensor* t = v->constant(); t != nullptr && t->numel() == 1 && t->has_data()) return fmt::format("{}", t->at(0));
    // Only values of the result's shape are computed inside; smaller ones would be computed again for every row.
    const Node* producer = v->producer();
    const bool has_room = written_.count + begun_ < kMaxInstructions;
    const bool is_own = producer != nullptr && v->has_one_use() && v->shape() == root_.output()->shape() && !instruction_name(*producer).empty();
    if (has_room && is_own && !ops::is_constant_expression(*v)) {
      const Written before = written_;
      if (add(*producer)) {
        written_.absorbed.push_back(producer);
        return written_.names.at(v);
      }
      written_ = before;  // it begins a chain of its own
    }
    if (written_.inputs.size() == kMaxInputs) return std::nullopt;
    written_.names[v] = fmt::format("x{}", written_.inputs.size());
    written_.inputs.push_back(v);
    return written_.names.at(v);
  }

  struct Written {
    std::map<const Value*, std::string> names;
    std::vector<Value*> inputs;
    std::vector<const Node*> absorbed;
    std::string text;
    int count = 0;
  };

  const Node& root_;
  Written written_;
  int begun_ = 0;  // nodes whose operands are being written
};

// The end of a chain: no elementwise reader would take it in.
bool ends_chain(const Node& node) {
  const Value* out = node.output();
  return !out->has_one_use() || instruction_name(*out->uses()[0].node).empty() || out->uses()[0].node->output()->shape() != out->shape();
}

// Columns of x, all rows of it, that a value is; null: it is none, or of a weight.
struct Part {
  Value* x = nullptr;
  int64_t first = 0, half = 0;  // as the attributes of pointwise
};

// Indices first + h … first + 2h - 1, first … first + h - 1, first + 3h …
std::optional<Part> swapped_halves(const Node& gather) {
  constexpr int64_t kLeast = 8;  // columns of a block: kernels move fewer no faster than a gather does
  const Tensor* index = gather.input(1)->constant();
  const int64_t axis = gather.attrs().integer("axis");
  if ((axis != -1 && axis != gather.input(0)->rank() - 1) || index == nullptr || !index->has_data() || index->shape().size() != 1) return std::nullopt;
  const int64_t count = index->numel();
  int64_t half = 1;
  while (half < count && index->int_at(half) == index->int_at(0) + half) ++half;
  const Part part{gather.input(0), count == 0 ? -1 : index->int_at(0) - half, half};
  if (half < kLeast || count % (2 * half) != 0 || part.first < 0) return std::nullopt;
  for (int64_t c = 0; c < count; ++c)
    if (index->int_at(c) != part.first + c + ops::PointwiseColumns::shift(c, half)) return std::nullopt;
  return part;
}

std::optional<Part> part_of_rows(const Value& v) {
  if (v.rank() == 0 || !v.shape().back().is_const()) return std::nullopt;
  std::optional<Part> part;
  if (v.is(Op::k_gather)) part = swapped_halves(*v.producer());
  if (v.is(Op::k_slice)) {
    const Attrs& slice = v.producer()->attrs();
    const Dim& start = slice.shape("starts").empty() ? v.shape().back() : slice.shape("starts")[0];
    const bool is_plain = slice.integers("axes") == std::vector<int64_t>{v.rank() - 1} && slice.integers("steps")[0] == 1;
    if (is_plain && start.is_const()) part = Part{v.producer()->input(0), start.value(), 0};
  }
  if (!part || !part->x->shape().back().is_const() || ops::is_constant_expression(*part->x)) return std::nullopt;
  return part;
}

Result<bool> read_columns(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_pointwise) || node.attrs().integer("width") != 0 || node.output()->rank() == 0) return rw.no_match();
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  std::vector<int64_t> columns, halves;
  const Dim width = node.output()->shape().back();
  for (Value*& v : inputs) {
    const auto part = part_of_rows(*v);
    const bool reads = part && v->shape().back() == width;
    columns.push_back(reads ? part->first : -1);
    halves.push_back(reads ? part->half : 0);
    if (reads) v = part->x;
  }
  if (std::ranges::all_of(columns, [](int64_t c) { return c < 0; })) return rw.no_match();
  Attrs attrs = node.attrs();
  attrs.set("width", width.value());
  attrs.set("columns", columns);
  attrs.set("halves", halves);
  TENON_ASSIGN(Value * fused, rw.create(Op::k_pointwise, inputs, attrs));
  if (fused->shape() != node.output()->shape()) return rw.decline(node, "a slice decides the shape");
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), "columns of wider rows are read in place");
}

Result<bool> fuse_chain(Rewriter& rw, Node& node) {
  if (node.num_outputs() != 1 || instruction_name(node).empty() || !ends_chain(node)) return rw.no_match();
  if (ops::is_constant_expression(*node.output())) return rw.no_match();  // computed once, by fold-constants
  Program program(node);
  if (!program.add(node)) return rw.decline(node, "the chain has too many operands");
  const bool is_alone = program.count() < 2 && std::ranges::none_of(program.inputs(), [](Value* v) { return part_of_rows(*v).has_value(); });
  if (is_alone || program.inputs().empty()) return rw.no_match();
  TENON_ASSIGN(Value * fused, rw.create(Op::k_pointwise, program.inputs(), {{"program", program.text()}, {"dtype", DType::kF32}}));
  if (fused->shape() != node.output()->shape()) return rw.decline(node, "a scalar operand decides the shape");
  for (const Node* n : program.absorbed()) rw.absorb_origin(fused->producer(), n);
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), fmt::format("{} operations", program.count()));
}

}  // namespace

Status fuse_pointwise(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-pointwise", {fuse_chain, read_columns}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
