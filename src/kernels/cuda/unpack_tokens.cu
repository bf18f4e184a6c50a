// unpack_tokens: rows of tokens to their positions in [batch, seq, …], zeros where there is no row.
//
//   X, Y      element types of x and y, of unpack_floats
//   WIDE      elements of a row that unpack_floats moves at once
//   OUTPUTS   columns of a row that unpack_floats takes apart, if it moves one element at once
#include "divide.cuh"
#include "pdl.cuh"
#include "scalar.cuh"
#include "units.cuh"

// The row among begin .. end whose `gather` is `cell`, -1 where there is none; gather ascends there.
TENON_DEVICE int find_row(const int* gather, int begin, int end, int cell, int guess) {
  if (guess < end && gather[guess] == cell) return guess;
  while (begin < end) {
    const int middle = begin + (end - begin) / 2, found = gather[middle];
    if (found == cell) return middle;
    if (found < cell)
      begin = middle + 1;
    else
      end = middle;
  }
  return -1;
}

// Where unit i of y comes from.
TENON_DEVICE long long source_of(const UnpackArgs& args, unsigned i) {
  const unsigned cell = quotient(i, args.width), column = i - cell * args.width.value,
                 sequence = quotient(cell, args.seq);
  const int place = static_cast<int>(cell - sequence * args.seq.value);
  const int begin = max(args.key_begin[sequence], 0), end = min(args.row_offsets[sequence + 1], args.rows);
  const int row =
      find_row(args.gather, begin, end, static_cast<int>(cell), begin + place);  // right where there is no hole
  return row < 0 ? kNowhere : row * args.x_width + args.column + column;
}

extern "C" __global__ void unpack_tokens(const __grid_constant__ UnpackArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < args.count) copy_unit(args.unit, args.x, source_of(args, i), args.y[0], i);
}

template <class T>
struct alignas(sizeof(T) * WIDE) Elements {
  Stored<T> at[WIDE];
};

// Floats that become others; units are WIDE elements.
extern "C" __global__ void unpack_floats(const __grid_constant__ UnpackArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= args.count) return;
  const long long from = source_of(args, i);
  Elements<X> x[OUTPUTS] = {};
  if (from != kNowhere) {
#pragma unroll
    for (int output = 0; output < OUTPUTS; ++output) x[output] = static_cast<const Elements<X>*>(args.x)[from + output];
  }
#pragma unroll
  for (int output = 0; output < OUTPUTS; ++output) {
    Elements<Y> y;
#pragma unroll
    for (int k = 0; k < WIDE; ++k) y.at[k] = Stored<Y>::of(x[output].at[k].held());
    static_cast<Elements<Y>*>(args.y[output])[i] = y;
  }
}
