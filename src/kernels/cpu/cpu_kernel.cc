#include "kernels/cpu/cpu_kernel.h"

#include "base/dtype.h"

namespace tenon::kernels::cpu {

Result<std::unique_ptr<Launcher>> CpuKernel::prepare_for(const Problem& problem, const Config& config, Isa isa) const {
  if (Support s = supports(problem); !s) return error(ErrorCode::kUnsupported, "{}: {}", id(), s.reason);
  return make_launcher(problem, config, vector_code(isa));
}

Support all_f32(const Problem& problem) {
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    if (problem.has(static_cast<int>(i)) && problem.inputs[i].dtype != DType::kF32)
      return Support::no(fmt::format("input {} is {}, f32 is needed", i, dtype_name(problem.inputs[i].dtype)));
  }
  for (size_t i = 0; i < problem.outputs.size(); ++i) {
    if (problem.outputs[i].dtype != DType::kF32)
      return Support::no(fmt::format("output {} is {}, f32 is needed", i, dtype_name(problem.outputs[i].dtype)));
  }
  return Support::yes();
}

Status reference_error(Op op, const Attrs& attrs, const RunArgs& args) {
  return ops::op_def(op).reference(attrs, args);
}

}  // namespace tenon::kernels::cpu
