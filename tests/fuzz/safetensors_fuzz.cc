// Any bytes as a safetensors file: tensors that can be read to their last byte, or an error.
#include <cstring>

#include "hf/safetensors.h"
#include "tests/fuzz/tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::byte* memory = nullptr;
  auto block = tenon::ir::Tensor::allocate(tenon::DType::kU8, {static_cast<int64_t>(size)}, &memory);
  if (!block.ok()) return 0;
  if (size > 0) std::memcpy(memory, data, size);
  const auto tensors =
      tenon::hf::parse_safetensors({memory, size}, std::make_shared<tenon::ir::Tensor>(*block), "fuzz");
  if (tensors.ok()) tenon::fuzz::read_all(*tensors);
  return 0;
}
