// Any lines as what an engine says about a plugin: its operator, version, library, state, types, ranks and sizes.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/writer.h"
#include "ops/plugin_host.h"
#include "plan/planner.h"
#include "tests/plugins/libraries/sample.cc"
#include "tests/support/hostile_engines.h"

namespace {

using namespace tenon;

// An engine with one step of a plugin.
std::string make_engine() {
  throw_if_error(ops::add_plugin_library(tenon_plugin_entry(), "sample"));
  ir::Graph graph;
  ir::Value* x = graph.add_input("x", {DType::kF32, {ir::Dim::symbol("batch"), ir::Dim(3)}});
  const ops::PluginAttributes attributes = {{"factor", 2.0}};
  const ir::Node* node = value_or_throw(ops::create_plugin(graph, *ops::find_plugin("test.Affine"), attributes, {x}));
  graph.add_output("y", node->output());
  const auto planned = value_or_throw(plan::make_plan(graph));
  const auto path = std::filesystem::temp_directory_path() / ("tenon-plugin-fuzz-" + std::to_string(::getpid()));
  value_or_throw(engine::write_engine(path.string(), planned.plan, {}, [&](int i) { return planned.make_weight(i); }));
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::filesystem::remove(path);
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string engine = make_engine();
  std::istringstream lines(std::string(reinterpret_cast<const char*>(data), size));
  const std::string forged = test::forge_plan(engine, [&](engine::Plan& plan) {
    ir::Attrs& attrs = plan.steps[0].attrs;
    std::string line;
    for (const char* name : {"operator", "version", "library", "state", "dtypes"})
      if (std::getline(lines, line) && !line.empty()) attrs.set(name, line);
    if (std::getline(lines, line) && !line.empty()) {
      std::vector<int64_t> ranks;
      std::istringstream numbers(line);
      for (int64_t rank; numbers >> rank;) ranks.push_back(rank);
      attrs.set("ranks", ranks);
    }
    ir::Shape dims;
    while (std::getline(lines, line)) {
      auto dim = ir::Dim::parse(line);
      if (dim.ok()) dims.push_back(std::move(dim).value());
    }
    if (!dims.empty()) attrs.set("dims", dims);
  });
  (void)test::run_once(forged);
  return 0;
}
