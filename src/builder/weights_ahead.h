// Weights evaluated and packed ahead of the writer, by several threads.
#pragma once

#include <deque>
#include <functional>
#include <future>

#include "plan/planner.h"

namespace tenon::builder {

class WeightsAhead {
 public:
  // `planned` must outlive it.
  explicit WeightsAhead(const plan::PlannedModel& planned) : planned_(planned) {}

  // The weights in their order, as PlannedModel::make_weight gives them; waits for the one that is asked for. Those
  // that are ready and not yet asked for stay below a limit, so that a build never holds the model twice.
  Result<ir::Tensor> next();

 private:
  void start_some();

  const plan::PlannedModel& planned_;
  std::deque<std::future<Result<ir::Tensor>>> started_;
  size_t first_ = 0;          // the weight of started_.front()
  uint64_t bytes_ahead_ = 0;  // of all that were started
};

}  // namespace tenon::builder
