// Memory of the CPU benchmarks, allocated as that of runs.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>

#include "base/status.h"
#include "runtime/arena.h"

namespace tenon::bench {

class Floats {
 public:
  Floats() = default;
  explicit Floats(size_t count) : memory_(std::make_unique<runtime::Buffer>()) {
    throw_if_error(memory_->reserve(count * sizeof(float), std::numeric_limits<size_t>::max()));
  }
  float* get() const { return reinterpret_cast<float*>(memory_->data()); }

 private:
  std::unique_ptr<runtime::Buffer> memory_;
};

}  // namespace tenon::bench
