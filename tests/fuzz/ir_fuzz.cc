// The text form of graphs: any bytes are refused, or read as a graph that verifies and prints back to itself.
#include <cstdint>
#include <cstdlib>

#include "ir/text.h"
#include "ops/create.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tenon;
  const auto graph = ops::parse_graph({reinterpret_cast<const char*>(data), size});
  if (!graph.ok()) return 0;
  if (!ops::verify(**graph).ok()) std::abort();
  const std::string text = ir::print(**graph);
  const auto again = ir::parse(text);
  if (!again.ok() || ir::print(**again) != text) std::abort();
  return 0;
}
