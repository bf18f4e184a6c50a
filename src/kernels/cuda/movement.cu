// Kernels that only move elements, of any type: a thread copies one unit of 1 to 16 bytes.
#include "divide.cuh"
#include "pdl.cuh"
#include "units.cuh"

TENON_DEVICE unsigned thread_index() { return blockIdx.x * blockDim.x + threadIdx.x; }

// From one strided view to another.
extern "C" __global__ void copy_view(const __grid_constant__ CopyArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  unsigned rest = thread_index();
  if (rest >= args.count) return;
  long long from = 0, to = 0;
  for (int axis = args.rank - 1; axis >= 0; --axis) {
    const unsigned outer = axis > 0 ? quotient(rest, args.sizes[axis]) : 0,
                   place = rest - outer * args.sizes[axis].value;
    rest = outer;
    from += place * args.x_strides[axis];
    to += place * args.y_strides[axis];
  }
  copy_unit(args.unit, args.x, from, args.y, to);
}

// Indices count from the end where they are negative. They were checked on the host or computed within bounds, but rows
// behind the data hold anything.
TENON_DEVICE long long index_at(const void* indices, int wide, long long at, long long size) {
  const long long index = wide ? static_cast<const long long*>(indices)[at] : static_cast<const int*>(indices)[at];
  return min(max(index < 0 ? index + size : index, 0ll), size - 1);
}

extern "C" __global__ void gather(const __grid_constant__ GatherArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const unsigned i = thread_index();
  if (i >= args.count) return;
  const unsigned row = quotient(i, args.width), column = i - row * args.width.value, matrix = quotient(row, args.group);
  const long long tuple = args.shared_indices ? row - matrix * args.group.value : row;
  long long from = matrix * args.matrix_stride + column;
  for (int d = 0; d < args.depth; ++d) {
    from += index_at(args.indices, args.wide, tuple * args.depth + d, args.sizes[d]) * args.strides[d];
  }
  copy_unit(args.unit, args.x, from, args.y, i);
}

extern "C" __global__ void gather_elements(const __grid_constant__ GatherElementsArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const unsigned i = thread_index();
  if (i >= args.count) return;
  unsigned rest = i;
  long long from = index_at(args.indices, args.wide, i, args.size) * args.stride;
  for (int axis = args.rank - 1; axis >= 0; --axis) {
    const unsigned outer = axis > 0 ? quotient(rest, args.sizes[axis]) : 0;
    from += (rest - outer * args.sizes[axis].value) * args.strides[axis];
    rest = outer;
  }
  copy_unit(args.element, args.x, from, args.y, i);
}
