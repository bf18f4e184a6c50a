// Any bytes as pytorch_model.bin.
#include "hf/pytorch_bin.h"
#include "tests/fuzz/tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tensors = tenon::hf::parse_pytorch_bin({reinterpret_cast<const std::byte*>(data), size}, nullptr, "fuzz");
  if (tensors.ok()) tenon::fuzz::read_all(*tensors);
  return 0;
}
