// Walking tensors that broadcast together, without allocation.
#pragma once

#include <cstdint>
#include <span>

namespace tenon::kernels::cpu {

inline constexpr int kMostAxes = 8;

// An output's index space as rows and columns, and where each input stands in it.
class Broadcast {
 public:
  // At most kMostAxes axes.
  explicit Broadcast(std::span<const int64_t> shape);

  // The next input, to be read as one of the output's shape; false when it does not broadcast to it.
  bool add(std::span<const int64_t> shape);
  // The same, but of its last axis only so many columns are read, from wherever the caller begins.
  bool add_columns(std::span<const int64_t> shape, int64_t columns);
  // The next input, by the strides (in elements) at which it is read along the output's axes.
  void add_view(std::span<const int64_t> strides);
  // Joins axes that all inputs step through alike, so that rows are as long as can be.
  void merge_axes();

  int64_t rows() const;
  int64_t columns() const { return sizes_[rank_ - 1]; }
  // In elements: of input i from one column to the next, and at the beginning of a row.
  int64_t step(int i) const { return strides_[i][rank_ - 1]; }
  int64_t offset(int i, int64_t row) const;
  // Axis by axis, for kernels that walk the grid themselves.
  int rank() const { return rank_; }
  int64_t size(int axis) const { return sizes_[axis]; }
  int64_t stride(int i, int axis) const { return strides_[i][axis]; }

 private:
  static constexpr int kMostInputs = 16;
  bool joins(int axis) const;  // with the next one

  int rank_ = 0, inputs_ = 0;
  int64_t sizes_[kMostAxes] = {};
  int64_t strides_[kMostInputs][kMostAxes] = {};
};

}  // namespace tenon::kernels::cpu
