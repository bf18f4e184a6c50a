// The memory of runs, lent to one thread at a time.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "text/pipeline.h"

namespace tenon::text {

// Scratches are kept, as they remember the words that they have seen.
class ScratchPool {
 public:
  class Loan {
   public:
    Loan(ScratchPool& pool, std::unique_ptr<Pipeline::Scratch> scratch) : pool_(pool), scratch_(std::move(scratch)) {}
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() {
      const std::lock_guard lock(pool_.mutex_);
      pool_.idle_.push_back(std::move(scratch_));
    }
    Pipeline::Scratch& operator*() { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<Pipeline::Scratch> scratch_;
  };

  Loan borrow() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return {*this, std::make_unique<Pipeline::Scratch>()};
    std::unique_ptr<Pipeline::Scratch> scratch = std::move(idle_.back());
    idle_.pop_back();
    return {*this, std::move(scratch)};
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Pipeline::Scratch>> idle_;
};

}  // namespace tenon::text
