// Writes engine files.
#pragma once

#include <functional>
#include <string>

#include "engine/metadata.h"
#include "engine/plan.h"
#include "ir/tensor.h"

namespace tenon::engine {

// Makes the bytes of Plan::weights[index]; called once each, in order, so that only one weight is in memory at a time.
using WeightSource = std::function<Result<ir::Tensor>(int index)>;

// Gives every weight its place in the weights' section.
void place_weights(Plan& plan);

struct WriteResult {
  uint64_t file_bytes = 0;
  uint64_t weight_bytes = 0;
};

// Writes to a temporary file in the folder of `path`, syncs it and renames it, so `path` is either complete or untouched.
// Nothing but the arguments decides the bytes. Errors: io (naming the file and what the system said), the source's own, and
// internal when a weight is not of the type that the plan says.
Result<WriteResult> write_engine(const std::string& path, const Plan& plan, const Metadata& metadata, const WeightSource& source);

}  // namespace tenon::engine
