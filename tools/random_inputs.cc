#include "tools/random_inputs.h"

#include <algorithm>
#include <random>

namespace tenon::tools {
namespace {

using Random = std::mt19937_64;

double value_of(const TensorInfo& in, int64_t column, int64_t length, Random& random) {
  if (in.role == "attention_mask") return column < length;
  if (in.role == "token_type_ids") return 0;
  if (in.role == "position_ids") return static_cast<double>(column);
  if (in.role == "input_ids" || in.limit > 0) {
    const int64_t limit = in.limit > 0 ? in.limit : 1000;
    // The lowest ids are padding and special tokens.
    return column < length ? static_cast<double>(std::uniform_int_distribution<int64_t>(std::min<int64_t>(5, limit - 1), limit - 1)(random)) : 0;
  }
  if (is_float(in.dtype)) return std::normal_distribution<double>()(random);
  return in.shape.size() == 1 ? static_cast<double>(length) : 0;
}

// lengths: one for each row, or of the rows in turn.
ir::Tensor random_tensor(const TensorInfo& in, const std::vector<int64_t>& shape, const std::vector<int64_t>& lengths, Random& random) {
  std::byte* data = nullptr;
  ir::Tensor tensor = value_or_throw(ir::Tensor::allocate(in.dtype, shape, &data));
  const int64_t columns = shape.size() >= 2 ? shape[1] : 1;
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    const auto row = static_cast<size_t>(i / columns) % lengths.size();
    const double v = value_of(in, i % columns, lengths[row], random);
    visit_dtype(in.dtype, [&]<class T>() { reinterpret_cast<T*>(data)[i] = convert<T>(v); });
  }
  return tensor;
}

}  // namespace

ir::Tensor random_input(const TensorInfo& in, const std::vector<int64_t>& shape, unsigned seed) {
  Random random(seed);
  return random_tensor(in, shape, {shape.size() >= 2 ? shape[1] : 1}, random);
}

NamedTensors random_inputs(const Engine& engine, const std::vector<int64_t>& lengths, int64_t seq, unsigned seed) {
  Random random(seed);
  NamedTensors tensors;
  for (const TensorInfo& in : engine.inputs()) {
    std::vector<int64_t> shape;
    for (size_t axis = 0; axis < in.shape.size(); ++axis) {
      const bool is_sequence = axis >= 1 && in.axes[axis] != "masked";
      const int64_t free = axis == 0 ? static_cast<int64_t>(lengths.size()) : is_sequence ? seq : 1;
      shape.push_back(in.shape[axis] >= 0 ? in.shape[axis] : free);
    }
    tensors.emplace_back(in.name, random_tensor(in, shape, lengths, random));
  }
  return tensors;
}

}  // namespace tenon::tools
