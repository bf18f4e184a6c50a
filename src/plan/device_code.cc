#include "plan/device_code.h"

#include <mutex>

#include "base/thread_pool.h"
#include "kernels/cuda/nvrtc.h"

namespace tenon::plan {

Status compile_codes(PlannedModel& model, const std::function<void(double)>& progress) {
  const auto count = static_cast<int64_t>(model.sources.size());
  if (count == 0) return {};
  std::mutex mutex;
  Status failed;
  int64_t done = 0;
  ThreadPool pool(0);
  pool.parallel_for(count, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      engine::PlanCode& code = model.plan.codes[static_cast<size_t>(i)];
      auto compiled = cuda::compile(model.sources[static_cast<size_t>(i)], code.arch);
      const std::lock_guard lock(mutex);
      if (!compiled.ok()) {
        failed = compiled.status();
        return;
      }
      code.cubin = std::move(compiled->cubin);
      if (progress) progress(static_cast<double>(++done) / static_cast<double>(count));
    }
  });
  return failed;
}

}  // namespace tenon::plan
