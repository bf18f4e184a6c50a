// What kernels over any tensors are given: index spaces with strides. Read by their host sides too, so: plain types
// only.
#pragma once

constexpr int kMostGridAxes = 8;

// A divisor of numbers below 2^31, prepared on the host: n / value is (n + the high half of n * factor) >> shift
// (Granlund and Montgomery, "Division by invariant integers using multiplication", 1994).
struct Divisor {
  unsigned value = 1, factor = 1, shift = 0;
};

// Elementwise programs: y is dense, inputs are read at strides of elements, 0 where they are broadcast.
struct PointwiseArgs {
  static constexpr int kMostInputs = 16;
  const void* x[kMostInputs] = {};
  void* y = nullptr;
  unsigned count = 0;
  int vectors = 0;  // 1: elements are read and written in vectors, which stay within the last axis
  int rank = 0;
  Divisor sizes[kMostGridAxes] = {};
  int strides[kMostInputs][kMostGridAxes] = {};
};

// Products of a [m, k] and b [k, n], dense both, at strides of elements along `rank` axes of batches; y is dense.
struct MatmulArgs {
  static constexpr int kSharedBytes = 52 << 10;  // of a block
  const void *a = nullptr, *b = nullptr;
  const void *bias = nullptr, *residual = nullptr;  // of linear
  void* y = nullptr;
  int m = 0, n = 0, k = 0;
  int a_unit = 0, b_unit = 0;  // bytes that all rows can be copied by: 16, 4 or 2
  int pairs = 0;               // y's rows begin where two elements can be written at once
  int rank = 0;
  Divisor sizes[kMostGridAxes] = {};
  long long a_strides[kMostGridAxes] = {}, b_strides[kMostGridAxes] = {};
};

// Below, a unit is what a thread copies at once: 1, 2, 4, 8 or 16 bytes. Strides, widths and counts are in units.

struct CopyArgs {
  const void* x = nullptr;
  void* y = nullptr;
  int unit = 0;
  unsigned count = 0;
  int rank = 0;
  Divisor sizes[kMostGridAxes] = {};
  long long x_strides[kMostGridAxes] = {}, y_strides[kMostGridAxes] = {};
};

// Row r of y is the row of x that a tuple of indices names, in the matrix of x that r / group counts.
struct GatherArgs {
  const void *x = nullptr, *indices = nullptr;
  void* y = nullptr;
  int unit = 0;
  unsigned count = 0;
  Divisor width = {}, group = {};
  long long matrix_stride = 0;
  int depth = 0;           // indices in a tuple
  int wide = 0;            // they are i64, otherwise i32
  int shared_indices = 0;  // every matrix is read by the same tuples, r % group, otherwise by those of r
  long long sizes[kMostGridAxes] = {}, strides[kMostGridAxes] = {};
};

// Element i of y is that of x at i's place along all axes but one, where its index says. Strides are in elements.
struct GatherElementsArgs {
  const void *x = nullptr, *indices = nullptr;
  void* y = nullptr;
  int element = 0;  // bytes
  unsigned count = 0;
  int wide = 0;  // indices are i64, otherwise i32
  int rank = 0;
  Divisor sizes[kMostGridAxes] = {};
  long long strides[kMostGridAxes] = {};
  long long size = 0, stride = 0;  // of x along the axis of the indices
};

// A row of y is `width` units of a row of x, which are x_width, from unit `column` on.
struct UnpackArgs {
  static constexpr int kMostOutputs = 8;
  const void* x = nullptr;
  void* y[kMostOutputs] = {};
  const int *gather = nullptr, *row_offsets = nullptr, *key_begin = nullptr;
  int unit = 0;
  unsigned count = 0;
  Divisor width = {}, seq = {};
  long long x_width = 0;
  int column = 0, rows = 0;
};

// Lines of `size` elements that lie `inner` apart.
struct CumsumArgs {
  const void* x = nullptr;
  void* y = nullptr;
  long long lines = 0, size = 0, inner = 0;
};

// Tensors between the host's memory and the device's: each part begins at a multiple of 16 bytes on both sides.
struct CopyAcrossArgs {
  static constexpr int kMostParts = 32;
  struct Part {
    const void* x = nullptr;
    void* y = nullptr;
    long long bytes = 0;
  };
  Part parts[kMostParts] = {};
};
