#include "kernels/elementwise.h"

namespace tenon::kernels {
namespace {

std::string single_op_program(const Problem& problem) {
  std::string operands;
  for (size_t i = 0; i < problem.inputs.size(); ++i) operands += fmt::format("{}x{}", i == 0 ? "" : ",", i);
  std::string name(ir::op_name(problem.op));
  if (problem.op == Op::k_gelu) {
    const std::string& form = problem.attrs.text("approximate");
    if (form != "none") name += "_" + form;
  }
  if (problem.op == Op::k_cast) name += fmt::format("_{}", dtype_name(problem.outputs[0].dtype));
  if (problem.op == Op::k_leaky_relu) operands += fmt::format(",{}", problem.attrs.number("alpha"));
  return fmt::format("t0={}({})", name, operands);
}

}  // namespace

Result<ops::PointwiseProgram> elementwise_program(const Problem& problem) {
  std::vector<DType> dtypes;
  for (const TensorType& t : problem.inputs) dtypes.push_back(t.dtype);
  const std::string text = problem.op == Op::k_pointwise ? problem.attrs.text("program") : single_op_program(problem);
  return ops::parse_pointwise(text, dtypes, problem.outputs[0].dtype);
}

ops::PointwiseColumns columns_of(const Problem& problem) {
  return problem.op == Op::k_pointwise ? ops::PointwiseColumns(problem.attrs) : ops::PointwiseColumns();
}

}  // namespace tenon::kernels
