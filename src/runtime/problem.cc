#include "runtime/problem.h"

namespace tenon::runtime {

kernels::Problem problem_of(const engine::Plan& plan, const engine::PlanStep& step) {
  kernels::Problem problem{.op = step.op, .attrs = step.attrs, .inputs = {}, .present = {}, .constant = {}, .outputs = {}, .before = nullptr};
  for (int in : step.inputs) {
    const engine::PlanValue* value = in < 0 ? nullptr : &plan.values[static_cast<size_t>(in)];
    problem.inputs.push_back(value != nullptr ? value->type : ir::TensorType{});
    problem.present.push_back(value != nullptr);
    problem.constant.push_back(value != nullptr && value->kind == engine::PlanValue::Kind::kWeight);
  }
  for (int out : step.outputs) problem.outputs.push_back(plan.values[static_cast<size_t>(out)].type);
  return problem;
}

}  // namespace tenon::runtime
