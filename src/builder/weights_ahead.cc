#include "builder/weights_ahead.h"

#include <algorithm>

#include "base/thread_pool.h"

namespace tenon::builder {

void WeightsAhead::start_some() {
  constexpr uint64_t kMostBytes = uint64_t{64} << 20;
  const auto threads = static_cast<size_t>(std::clamp(ThreadPool::available(), 1, 8));
  const auto& weights = planned_.plan.weights;
  while (first_ + started_.size() < weights.size()) {
    const size_t index = first_ + started_.size();
    const uint64_t bytes = weights[index].bytes;
    if (!started_.empty() && (started_.size() >= threads || bytes_ahead_ + bytes > kMostBytes)) return;
    bytes_ahead_ += bytes;
    started_.push_back(
        std::async(std::launch::async, [this, index] { return planned_.make_weight(static_cast<int>(index)); }));
  }
}

Result<ir::Tensor> WeightsAhead::next() {
  start_some();
  Result<ir::Tensor> made = started_.front().get();
  started_.pop_front();
  bytes_ahead_ -= planned_.plan.weights[first_++].bytes;
  start_some();  // the next ones are made while this one is written
  return made;
}

}  // namespace tenon::builder
