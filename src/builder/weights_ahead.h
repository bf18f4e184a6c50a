// Weights evaluated and packed ahead of the writer, by several threads.
#pragma once

#include <deque>
#include <functional>
#include <future>

#include "engine/writer.h"
#include "plan/planner.h"

namespace tenon::builder {

class WeightsAhead {
 public:
  // `weights`, which are made by `models[weight.plan]`; the models must outlive it.
  WeightsAhead(std::vector<const plan::PlannedModel*> models, std::vector<engine::StoredWeight> weights)
      : models_(std::move(models)), weights_(std::move(weights)) {}

  // The weights in their order, as PlannedModel::make_weight gives them; waits for the one that is asked for. Those
  // that are ready and not yet asked for stay below a limit, so that a build never holds the model twice.
  Result<ir::Tensor> next();

 private:
  void start_some();
  uint64_t bytes_of(size_t weight) const;

  const std::vector<const plan::PlannedModel*> models_;
  const std::vector<engine::StoredWeight> weights_;
  std::deque<std::future<Result<ir::Tensor>>> started_;
  size_t first_ = 0;          // the weight of started_.front()
  uint64_t bytes_ahead_ = 0;  // of all that were started
};

}  // namespace tenon::builder
