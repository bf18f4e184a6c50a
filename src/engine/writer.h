// Writes engine files.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/metadata.h"
#include "engine/plan.h"
#include "ir/tensor.h"

namespace tenon::engine {

// A weight whose bytes stand in the file for all that have its place.
struct StoredWeight {
  int plan = 0, index = 0;
};

// Gives every weight its place in the weights' section.
void place_weights(Plan& plan);

// Those of several plans that bring bytes of their own, by rising place. Plans share bytes by giving a weight the place of
// an earlier plan's.
std::vector<StoredWeight> stored_weights(std::span<const Plan> plans);

struct WriteResult {
  uint64_t file_bytes = 0;
  uint64_t weight_bytes = 0;
};

// Makes the bytes of a weight; called once for each of stored_weights, in order, so that only one is in memory at a time.
using WeightSource = std::function<Result<ir::Tensor>(StoredWeight weight)>;

// Writes to a temporary file in the folder of `path`, syncs it and renames it, so `path` is either complete or untouched.
// Nothing but the arguments decides the bytes. Errors: io (naming the file and what the system said), the source's own, and
// internal when a weight is not of the type that its plan says.
Result<WriteResult> write_engine(const std::string& path, std::span<const Plan> plans, const Metadata& metadata, const WeightSource& source);

// An engine of one plan; `source` is given the index of a weight.
Result<WriteResult> write_engine(const std::string& path, const Plan& plan, const Metadata& metadata,
                                 const std::function<Result<ir::Tensor>(int index)>& source);

}  // namespace tenon::engine
