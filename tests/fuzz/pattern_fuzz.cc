// Any bytes as a pattern file: refused, or rules that end and leave a graph sound.
#include <cstdint>
#include <cstdlib>

#include "ops/create.h"
#include "passes/pattern_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tenon;
  const auto rules = passes::parse_patterns({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!rules.ok()) return 0;
  const auto graph = ops::parse_graph(
      "graph @g(%x: f32[batch,seq,8], %r: f32[batch,seq,8]) {\n"
      "  %w: f32[8,8] = constant {name = \"w\", value = tensor f32[8,8]}\n"
      "  %g: f32[8] = constant {name = \"g\", value = tensor f32[8] 1, 1, 1, 1, 1, 1, 1, 1}\n"
      "  %half: f32[] = constant {name = \"\", value = tensor f32[] 0.5}\n"
      "  %m = matmul(%x, %w)\n  %b = add(%m, %g)\n  %a = gelu(%b) {approximate = \"none\"}\n  %s = add(%r, %a)\n  %t = "
      "mul(%half, %s)\n"
      "  %n = layer_norm(%t, %g, %g) {axis = -1, epsilon = 0.001}\n  %h = reshape(%n) {shape = dims[batch,seq,2,4]}\n"
      "  %p = transpose(%h) {perm = [0, 2, 1, 3]}\n  %q = softmax(%p) {axis = -1}\n  return \"q\" = %q, \"s\" = "
      "%s\n}\n");
  std::vector<passes::Decision> decisions;
  for (const passes::PatternRule& rule : *rules) {
    if (!passes::apply_pattern(**graph, rule, decisions).ok()) break;
    if (!ops::verify(**graph).ok()) std::abort();
  }
  return 0;
}
