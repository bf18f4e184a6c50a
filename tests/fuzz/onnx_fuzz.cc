// Any bytes as an ONNX file: an error or a model whose graph is sound.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "onnx/import.h"
#include "ops/create.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto model = tenon::onnx::import_bytes(std::as_bytes(std::span(data, size)), "");
  if (model.ok() && !tenon::ops::verify(*model->graph).ok()) std::abort();
  return 0;
}
