// Einsum, two operands at a time: what they share and nobody else needs is summed by a matrix product.
#include <algorithm>
#include <map>

#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

// An operand whose axes have names, each once.
struct Operand {
  Value* value = nullptr;
  std::string axes;
};

bool has(const std::string& axes, char name) { return axes.find(name) != std::string::npos; }

std::string keep(const std::string& axes, const std::string& wanted) {
  std::string kept;
  for (const char name : axes)
    if (has(wanted, name)) kept += name;
  return kept;
}

Result<Operand> permute(Call& c, Operand x, const std::string& order) {
  std::vector<int64_t> perm;
  for (const char name : order) perm.push_back(static_cast<int64_t>(x.axes.find(name)));
  TENON_ASSIGN(x.value, c.transpose(x.value, std::move(perm)));
  x.axes = order;
  return x;
}

// Sums over the axes that are not wanted.
Result<Operand> sum_others(Call& c, Operand x, const std::string& wanted) {
  std::vector<int64_t> axes;
  for (size_t i = 0; i < x.axes.size(); ++i)
    if (!has(wanted, x.axes[i])) axes.push_back(static_cast<int64_t>(i));
  if (axes.empty()) return x;
  TENON_ASSIGN(x.value, c.emit(Op::k_reduce_sum, {x.value}, {{"axes", axes}, {"keepdims", 0}}));
  x.axes = keep(x.axes, wanted);
  return x;
}

// An axis named twice stands for the diagonal: elements off it count as 0, and one of the two is summed.
Result<Operand> take_diagonals(Call& c, Operand x) {
  for (size_t j = 1; j < x.axes.size();) {
    const size_t i = x.axes.find(x.axes[j]);
    if (i == j) {
      ++j;
      continue;
    }
    const Shape& s = x.value->shape();
    TENON_TRY(c.same(s[i], s[j]));
    Shape row(s.size(), Dim(1)), column = row;
    row[i] = s[i];
    column[j] = s[j];
    TENON_ASSIGN(auto* a, c.iota(Dim(0), s[i]));
    TENON_ASSIGN(a, c.reshape(a, std::move(row)));
    TENON_ASSIGN(auto* b, c.iota(Dim(0), s[j]));
    TENON_ASSIGN(b, c.reshape(b, std::move(column)));
    TENON_ASSIGN(auto* on, c.emit(Op::k_equal, {a, b}));
    TENON_ASSIGN(x.value, c.emit(Op::k_where, {on, x.value, c.scalar(x.value->dtype(), 0)}));
    TENON_ASSIGN(x.value, c.emit(Op::k_reduce_sum, {x.value},
                                 {{"axes", std::vector<int64_t>{static_cast<int64_t>(j)}}, {"keepdims", 0}}));
    x.axes.erase(j, 1);
  }
  return x;
}

// Batches of [rows, summed] x [summed, columns]; `wanted` are the axes that the result or another operand needs.
Result<Operand> multiply(Call& c, Operand a, Operand b, const std::string& wanted) {
  TENON_ASSIGN(a, sum_others(c, a, wanted + b.axes));
  TENON_ASSIGN(b, sum_others(c, b, wanted + a.axes));
  const std::string shared = keep(a.axes, b.axes), batch = keep(shared, wanted);
  std::string rows, columns, summed;
  for (const char name : a.axes)
    if (!has(shared, name)) rows += name;
  for (const char name : b.axes)
    if (!has(shared, name)) columns += name;
  for (const char name : shared)
    if (!has(batch, name)) summed += name;
  TENON_ASSIGN(a, permute(c, a, batch + rows + summed));
  TENON_ASSIGN(b, permute(c, b, batch + summed + columns));
  const auto size = [](const Operand& x, const std::string& names) {
    Shape s;
    for (const char name : names) s.push_back(x.value->shape()[x.axes.find(name)]);
    return s;
  };
  // An axis of a batch may be 1 on one side, where it stands for an ellipsis.
  Shape left = size(a, batch), right = size(b, batch);
  TENON_ASSIGN(Shape out, c.broadcast(left, right));
  left.insert(left.end(), {ir::numel(size(a, rows)), ir::numel(size(a, summed))});
  right.insert(right.end(), {ir::numel(size(b, summed)), ir::numel(size(b, columns))});
  for (const Shape& own : {size(a, rows), size(b, columns)}) out.insert(out.end(), own.begin(), own.end());
  TENON_ASSIGN(a.value, c.reshape(a.value, std::move(left)));
  TENON_ASSIGN(b.value, c.reshape(b.value, std::move(right)));
  TENON_ASSIGN(auto* y, c.emit(Op::k_matmul, {a.value, b.value}));
  TENON_ASSIGN(y, c.reshape(y, std::move(out)));
  return Operand{y, batch + rows + columns};
}

// Axes of an ellipsis are named by digits, the last one '0', so that they align from the right.
constexpr char kEllipsis = '0';

// Letters, and one ellipsis at most.
bool is_term(std::string term) {
  if (const size_t at = term.find("..."); at != std::string::npos) term.erase(at, 3);
  return std::ranges::all_of(term, [](unsigned char ch) { return std::isalpha(ch); });
}

Result<std::string> expand_ellipsis(std::string term, size_t covered) {
  const size_t at = term.find("...");
  if (at == std::string::npos) return term;
  if (covered > 9) return error(ErrorCode::kUnsupported, "an ellipsis of {} axes", covered);
  std::string names;
  for (size_t i = covered; i-- > 0;) names += static_cast<char>(kEllipsis + static_cast<char>(i));
  return term.replace(at, 3, names);
}

}  // namespace

Status import_einsum(Call& c) {
  std::string equation = c.text("equation", "");
  std::erase(equation, ' ');
  const size_t arrow = equation.find("->");
  std::vector<std::string> terms;
  std::string left = equation.substr(0, arrow);
  for (size_t begin = 0; begin <= left.size();) {
    const size_t end = std::min(left.find(',', begin), left.size());
    terms.push_back(left.substr(begin, end - begin));
    begin = end + 1;
  }
  if (static_cast<int>(terms.size()) != c.num_inputs())
    return error(ErrorCode::kBadModel, "equation '{}' for {} inputs", equation, c.num_inputs());
  size_t widest = 0;
  std::vector<Operand> operands;
  std::map<char, int> count;
  for (size_t i = 0; i < terms.size(); ++i) {
    Value* x = c.input(static_cast<int>(i));
    if (x == nullptr) return error(ErrorCode::kBadModel, "input {} is missing", i);
    if (!is_term(terms[i])) return error(ErrorCode::kBadModel, "equation '{}'", equation);
    const bool dots = terms[i].find("...") != std::string::npos;
    const size_t named = terms[i].size() - (dots ? 3 : 0), rank = x->shape().size();
    if (dots ? named > rank : named != rank)
      return error(ErrorCode::kBadModel, "'{}' does not name {} axes", terms[i], rank);
    if (dots) widest = std::max(widest, rank - named);
    TENON_ASSIGN(std::string axes, expand_ellipsis(terms[i], rank - named));
    for (const char name : axes) ++count[name];
    TENON_ASSIGN(auto operand, take_diagonals(c, {x, std::move(axes)}));
    operands.push_back(std::move(operand));
  }
  std::string result;
  if (arrow != std::string::npos) {
    if (!is_term(equation.substr(arrow + 2))) return error(ErrorCode::kBadModel, "equation '{}'", equation);
    TENON_ASSIGN(result, expand_ellipsis(equation.substr(arrow + 2), widest));
  } else {
    TENON_ASSIGN(result, expand_ellipsis("...", widest));
    for (const auto& [name, times] : count)
      if (times == 1 && std::isalpha(static_cast<unsigned char>(name))) result += name;
  }
  for (const char name : result)
    if (!count.contains(name) || std::ranges::count(result, name) != 1)
      return error(ErrorCode::kBadModel, "equation '{}'", equation);
  Operand all = operands[0];
  for (size_t i = 1; i < operands.size(); ++i) {
    std::string wanted = result;
    for (size_t k = i + 1; k < operands.size(); ++k) wanted += operands[k].axes;
    TENON_ASSIGN(all, multiply(c, all, operands[i], wanted));
  }
  TENON_ASSIGN(all, sum_others(c, all, result));
  TENON_ASSIGN(all, permute(c, all, result));
  return c.yield(all.value);
}

}  // namespace tenon::onnx
