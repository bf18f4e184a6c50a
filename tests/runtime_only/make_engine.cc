// Writes the engine that runtime_only runs: y = relu(x W), x [rows, 2]; W = [[1, -1], [2, 3]].
#include "engine/writer.h"
#include "ops/create.h"
#include "plan/planner.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto graph = tenon::value_or_throw(tenon::ops::parse_graph(R"(
    graph @main(%x: f32[rows,2]) {
      %w = constant {name = "w", value = tensor f32[2,2] 1, -1, 2, 3}
      %y = linear(%x, %w) {activation = "relu"}
      return "y" = %y
    })"));
  const auto model = tenon::value_or_throw(tenon::plan::make_plan(*graph));
  tenon::value_or_throw(tenon::engine::write_engine(argv[1], model.plan, {}, [&](int i) { return model.make_weight(i); }));
  return 0;
}
