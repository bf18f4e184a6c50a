// pytorch_model.bin: a zip archive of one pickle and the storages that it refers to. No code of the file is run.
#pragma once

#include "hf/safetensors.h"

namespace tenon::hf {

// Reads a state dict in place; tensors that are not contiguous are copied. Errors: not-found, io, bad-model (damaged
// archive or pickle, a view outside its storage), unsupported (the format before PyTorch 1.6, and all that state dicts
// do not contain).
Result<TensorMap> read_pytorch_bin(const std::string& path);

// The same from memory; `file` starts every message.
Result<TensorMap> parse_pytorch_bin(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                    const std::string& file);

}  // namespace tenon::hf
