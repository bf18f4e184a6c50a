// Any bytes as pytorch_model.bin.
#include "hf/pytorch_bin.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tensors = tenon::hf::parse_pytorch_bin({reinterpret_cast<const std::byte*>(data), size}, nullptr, "fuzz");
  if (!tensors.ok()) return 0;
  double sum = 0;
  for (const auto& [name, tensor] : *tensors)
    for (int64_t i = 0; i < tensor.numel(); ++i) sum += tensor.at(i);
  volatile double kept = sum;
  (void)kept;
  return 0;
}
