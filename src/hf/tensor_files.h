// Which files of a checkpoint folder hold its weights, and all their tensors.
#pragma once

#include <string>

#include "hf/safetensors.h"

namespace tenon::hf {

// The file that names the weights, in order of preference: model.safetensors, model.safetensors.index.json (shards),
// pytorch_model.bin, pytorch_model.bin.index.json. Empty when the folder has none.
std::string find_weights(const std::string& folder);

// All tensors of `folder`/`file`, where `file` comes from find_weights. A shard's name must be a plain file name, so
// that an index cannot reach outside the folder. Errors: those of the formats; bad-model (a shard or a tensor of the
// index that is not there).
Result<TensorMap> read_weights(const std::string& folder, const std::string& file);

}  // namespace tenon::hf
