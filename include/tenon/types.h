// Element types and views of tensors in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tenon {

enum class DType : uint8_t {
  kF32 = 0,
  kF16,
  kBF16,
  kF64,
  kI8,
  kU8,
  kI16,
  kU16,
  kI32,
  kU32,
  kI64,
  kU64,
  kBool,
  // Narrow types, for storage: they are moved, and cast to and from the types above. One byte per element in memory,
  // integers of fewer bits as int8 or uint8 values.
  kF8E4M3FN,
  kF8E4M3FNUZ,
  kF8E5M2,
  kF8E5M2FNUZ,
  kF8E8M0,
  kF4E2M1,
  kI4,
  kU4,
  kI2,
  kU2
};

// Bytes of one element.
constexpr size_t dtype_size(DType t) {
  switch (t) {
    case DType::kF64: case DType::kI64: case DType::kU64: return 8;
    case DType::kF32: case DType::kI32: case DType::kU32: return 4;
    case DType::kF16: case DType::kBF16: case DType::kI16: case DType::kU16: return 2;
    default: return 1;
  }
}

// "f32", "i64", "bool" …
std::string_view dtype_name(DType t);

// A dense row-major tensor owned by somebody else.
struct TensorView {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  void* data = nullptr;
  bool on_device = false;  // `data` is an address in the GPU's memory
};

}  // namespace tenon
