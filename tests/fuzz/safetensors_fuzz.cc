// Any bytes as a safetensors file: tensors that can be read to their last byte, or an error.
#include <cstring>

#include "hf/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::byte* memory = nullptr;
  auto block = tenon::ir::Tensor::allocate(tenon::DType::kU8, {static_cast<int64_t>(size)}, &memory);
  if (!block.ok()) return 0;
  if (size > 0) std::memcpy(memory, data, size);
  const auto tensors =
      tenon::hf::parse_safetensors({memory, size}, std::make_shared<tenon::ir::Tensor>(*block), "fuzz");
  if (!tensors.ok()) return 0;
  double sum = 0;
  for (const auto& [name, tensor] : *tensors)
    for (int64_t i = 0; i < tensor.numel(); ++i) sum += tensor.at(i);
  volatile double kept = sum;
  (void)kept;
  return 0;
}
