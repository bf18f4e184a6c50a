#include "plan/device_code.h"

namespace tenon::plan {

Status compile_codes(PlannedModel& model, KernelCache& cache, const std::function<void(double)>& progress) {
  std::vector<CodeRequest> requests;
  for (size_t i = 0; i < model.sources.size(); ++i) requests.push_back({model.sources[i], model.plan.codes[i].arch});
  TENON_TRY(cache.prepare(requests, progress));
  for (size_t i = 0; i < requests.size(); ++i) {
    TENON_ASSIGN(model.plan.codes[i].cubin, cache.get(requests[i]));
  }
  return {};
}

}  // namespace tenon::plan
