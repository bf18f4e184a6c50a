#include "plan/device_code.h"

#include <algorithm>

namespace tenon::plan {
namespace {

// "sm_80" -> "compute_80".
std::string ptx_arch(const std::string& arch) { return "compute_" + arch.substr(arch.find('_') + 1); }

}  // namespace

Status compile_codes(PlannedModel& model, KernelCache& cache, const std::function<void(double)>& progress) {
  std::vector<engine::PlanCode>& codes = model.plan.codes;
  // Letters behind the number say that no other GPU runs the code, so PTX of the other kernels would be of no use.
  const bool portable = std::ranges::all_of(codes, [](const engine::PlanCode& c) { return engine::is_portable(c); });
  std::vector<CodeRequest> requests;
  for (size_t i = 0; i < codes.size(); ++i) {
    requests.push_back({model.sources[i], codes[i].arch});
    if (portable) requests.push_back({model.sources[i], ptx_arch(codes[i].arch)});
  }
  TENON_TRY(cache.prepare(requests, progress));
  for (size_t i = 0; i < codes.size(); ++i) {
    TENON_ASSIGN(codes[i].cubin, cache.get({model.sources[i], codes[i].arch}));
    if (!portable) continue;
    TENON_ASSIGN(codes[i].ptx, cache.get({model.sources[i], ptx_arch(codes[i].arch)}));
  }
  return {};
}

}  // namespace tenon::plan
