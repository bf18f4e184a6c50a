#include "builder/weights_ahead.h"

#include <algorithm>

#include "base/thread_pool.h"

namespace tenon::builder {

uint64_t WeightsAhead::bytes_of(size_t weight) const {
  const auto [plan, index] = weights_[weight];
  return models_[static_cast<size_t>(plan)]->plan.weights[static_cast<size_t>(index)].bytes;
}

void WeightsAhead::start_some() {
  constexpr uint64_t kMostBytes = uint64_t{64} << 20;
  const auto threads = static_cast<size_t>(std::clamp(ThreadPool::available(), 1, 8));
  while (first_ + started_.size() < weights_.size()) {
    const size_t next = first_ + started_.size();
    const uint64_t bytes = bytes_of(next);
    if (!started_.empty() && (started_.size() >= threads || bytes_ahead_ + bytes > kMostBytes)) return;
    bytes_ahead_ += bytes;
    started_.push_back(std::async(std::launch::async, [model = models_[static_cast<size_t>(weights_[next].plan)],
                                                       index = weights_[next].index] { return model->make_weight(index); }));
  }
}

Result<ir::Tensor> WeightsAhead::next() {
  start_some();
  Result<ir::Tensor> made = started_.front().get();
  started_.pop_front();
  bytes_ahead_ -= bytes_of(first_++);
  start_some();  // the next ones are made while this one is written
  return made;
}

}  // namespace tenon::builder
