// Runs an engine in a program that links the runtime alone and includes its public header only.
#include <cstdio>

#include "tenon/runtime.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const tenon::Engine engine = tenon::Engine::load(argv[1]);
    tenon::ExecutionContext context = engine.create_execution_context();
    float x[] = {1, 1, 3, -1, 0, 0};
    context.set_input("x", {tenon::DType::kF32, {3, 2}, x});
    context.execute();
    const auto* y = static_cast<const float*>(context.output("y").data);
    const float expected[] = {3, 2, 1, 0, 0, 0};
    for (int i = 0; i < 6; ++i) {
      if (y[i] == expected[i]) continue;
      std::fprintf(stderr, "y[%d] = %g, expected %g\n", i, y[i], expected[i]);
      return 1;
    }
  } catch (const tenon::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
