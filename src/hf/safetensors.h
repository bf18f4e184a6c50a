// The safetensors format: 8 bytes of header length, a JSON header {name: {dtype, shape, data_offsets}}, the data.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "ir/tensor.h"

namespace tenon::hf {

// Tensors of a checkpoint by name.
using TensorMap = std::map<std::string, ir::Tensor>;

// Reads a file in place: tensors point into the mapping, which they keep alive (a tensor that is not aligned for its
// type is copied). Errors: not-found, io, bad-model (anything that the format's own reader refuses: see
// parse_safetensors), unsupported (8-bit floats).
Result<TensorMap> read_safetensors(const std::string& path);

// The same from memory. The header must fit and be JSON without duplicate names; the tensors' bytes must match dtype
// and shape, cover the data without holes or overlaps, and end where it ends. `file` starts every message.
Result<TensorMap> parse_safetensors(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                    const std::string& file);

}  // namespace tenon::hf
