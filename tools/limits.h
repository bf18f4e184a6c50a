// What a processor can do at most, measured: rates of multiply-adds and of bytes.
#pragma once

#include <string>

#include "base/thread_pool.h"
#include "ops/quantize.h"

namespace tenon::tools {

// Of all threads of a pool together. Zero: not known, as for GPUs.
struct Limits {
  std::string device;
  double f32 = 0, bf16 = 0, int8 = 0;  // operations a second, two a multiply-add; int8 as builds on this CPU have it
  double memory = 0, cache = 0;        // bytes a second: of weights that stream from memory, of rows just written
  double held = 0;                     // bytes of weights that stay in a cache from run to run

  double operations(const std::string& factors) const {
    return ops::are_integers(factors) ? int8 : factors == "bf16" ? bf16 : factors == "f32" || factors == "tf32" ? f32 : 0;
  }
};

// About half a second.
Limits measure_cpu(ThreadPool& pool);

}  // namespace tenon::tools
