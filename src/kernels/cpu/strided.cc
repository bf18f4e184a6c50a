#include "kernels/cpu/strided.h"

namespace tenon::kernels::cpu {

Broadcast::Broadcast(std::span<const int64_t> shape) {
  for (int64_t size : shape) sizes_[rank_++] = size;
  if (rank_ == 0) sizes_[rank_++] = 1;  // a scalar is one row of one
}

bool Broadcast::add(std::span<const int64_t> shape) { return add_columns(shape, shape.empty() ? 1 : shape.back()); }

bool Broadcast::add_columns(std::span<const int64_t> shape, int64_t columns) {
  const int own_rank = static_cast<int>(shape.size());
  if (inputs_ == kMostInputs || (own_rank > rank_)) return false;
  int64_t stride = 1;
  for (int axis = rank_ - 1, own = own_rank - 1; axis >= 0; --axis, --own) {
    const int64_t whole = own >= 0 ? shape[static_cast<size_t>(own)] : 1, size = axis == rank_ - 1 ? columns : whole;
    if (size != 1 && size != sizes_[axis]) return false;
    strides_[inputs_][axis] = size == 1 ? 0 : stride;
    stride *= whole;
  }
  ++inputs_;
  return true;
}

void Broadcast::add_view(std::span<const int64_t> strides) {
  for (size_t axis = 0; axis < strides.size(); ++axis) strides_[inputs_][axis] = strides[axis];
  ++inputs_;
}

bool Broadcast::joins(int axis) const {
  if (sizes_[axis] == 1 || sizes_[axis + 1] == 1) return true;
  for (int i = 0; i < inputs_; ++i)
    if (strides_[i][axis] != strides_[i][axis + 1] * sizes_[axis + 1]) return false;
  return true;
}

void Broadcast::merge_axes() {
  for (int axis = rank_ - 2; axis >= 0; --axis) {
    if (!joins(axis)) continue;
    const bool keep_outer = sizes_[axis + 1] == 1;
    for (int i = 0; i < inputs_; ++i) {
      if (!keep_outer) strides_[i][axis] = strides_[i][axis + 1];
      for (int a = axis + 1; a + 1 < rank_; ++a) strides_[i][a] = strides_[i][a + 1];
    }
    sizes_[axis] *= sizes_[axis + 1];
    for (int a = axis + 1; a + 1 < rank_; ++a) sizes_[a] = sizes_[a + 1];
    --rank_;
  }
}

int64_t Broadcast::rows() const {
  int64_t n = 1;
  for (int axis = 0; axis + 1 < rank_; ++axis) n *= sizes_[axis];
  return n;
}

int64_t Broadcast::offset(int i, int64_t row) const {
  int64_t at = 0;
  for (int axis = rank_ - 2; axis >= 0; row /= sizes_[axis], --axis) at += row % sizes_[axis] * strides_[i][axis];
  return at;
}

}  // namespace tenon::kernels::cpu
