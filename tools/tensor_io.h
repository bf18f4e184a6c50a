// Tensors in files: NumPy's .npy and .npz, and JSON.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ir/tensor.h"

namespace tenon::tools {

using NamedTensors = std::vector<std::pair<std::string, ir::Tensor>>;

// .npz: by the names of its entries; .json: an object of nested lists (integers become i64, other numbers f32, booleans bool);
// .npy: one tensor with an empty name. Errors: not-found, io, bad-input (naming the file and the entry), unsupported (Fortran
// order, compressed entries, other element types).
Result<NamedTensors> load_tensors(const std::string& path);

// By the file's ending. .npy takes one tensor. Errors: invalid-argument (another ending), io.
Status save_tensors(const std::string& path, const NamedTensors& tensors);

}  // namespace tenon::tools
