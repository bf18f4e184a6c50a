// Any bytes as an ONNX file that the passes rewrite: an error, or a graph that is sound after each of them.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "onnx/import.h"
#include "passes/pipeline.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto model = tenon::onnx::import_bytes(std::as_bytes(std::span(data, size)), "");
  if (!model.ok()) return 0;
  for (const char* quantized : {"", "int8"}) {
    const auto graph = model->graph->clone();
    tenon::passes::PipelineOptions options;
    options.verify = options.channels_last = true;
    options.quantized = quantized;
    const auto report = tenon::passes::run_pipeline(*graph, options);
    if (report.ok() || report.status().code() != tenon::ErrorCode::kInternal) continue;
    std::fprintf(stderr, "%s\n", report.status().message().c_str());
    std::abort();
  }
  return 0;
}
