// Reads the pickle inside a PyTorch checkpoint without running anything: a stack machine that knows the opcodes and the
// few names that state dicts consist of, and refuses everything else by name.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"

namespace tenon::hf {

// One entry of a state dict: a view of a storage, whose bytes stand elsewhere in the file. Sizes are as found,
// unchecked; at most 16 axes.
struct PickledTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::string storage;  // the storage's key
  int64_t storage_numel = 0;
  int64_t offset = 0;  // in elements
  std::vector<int64_t> shape, strides;
};

// Entries that are not tensors are left out. Errors, without the file's name: bad-model (cut off, stack or types
// wrong), unsupported (an opcode or a global that state dicts do not use, named: "os.system").
Result<std::vector<PickledTensor>> unpickle_state_dict(std::span<const std::byte> pickle);

}  // namespace tenon::hf
