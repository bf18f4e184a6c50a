#include "kernels/cpu/cpu_kernel.h"

#include "base/dtype.h"

namespace tenon::kernels::cpu {

Result<std::unique_ptr<Launcher>> CpuKernel::prepare_for(const Problem& problem, const Config& config, Isa isa) const {
  if (Support s = supports(problem); !s) return error(ErrorCode::kUnsupported, "{}: {}", id(), s.reason);
  if (Blocking::parse(config.text) != Blocking{}) {
    const std::vector<Config> all = configs(problem);
    if (std::none_of(all.begin(), all.end(), [&](const Config& c) { return c.text == config.text; }))
      return error(ErrorCode::kEngineVersion, "{} has no config \"{}\" here: build the engine again", id(),
                   config.text);
  }
  return make_launcher(problem, config, vector_code(isa));
}

Support all_of(const Problem& problem, DType type) {
  const auto check = [&](std::string_view what, size_t i, DType found) {
    return found == type
               ? Support::yes()
               : Support::no(fmt::format("{} {} is {}, {} is needed", what, i, dtype_name(found), dtype_name(type)));
  };
  for (size_t i = 0; i < problem.inputs.size(); ++i)
    if (problem.has(static_cast<int>(i)))
      if (Support s = check("input", i, problem.inputs[i].dtype); !s) return s;
  for (size_t i = 0; i < problem.outputs.size(); ++i)
    if (Support s = check("output", i, problem.outputs[i].dtype); !s) return s;
  return Support::yes();
}

Status reference_error(Op op, const Attrs& attrs, const RunArgs& args) {
  return ops::op_def(op).reference(attrs, args);
}

}  // namespace tenon::kernels::cpu
