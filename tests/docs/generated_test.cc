// docs/ops.md and docs/env.md say what the tables say. TENON_UPDATE_DOCS=1 writes them anew.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/env.h"
#include "ir/text.h"
#include "ops/op_def.h"
#include "passes/pipeline.h"

namespace tenon {
namespace {

std::string ops_page() {
  std::string page = "# Operators\n\nGenerated from the op table (`src/ops`) by `tests/docs/generated_test.cc`. Inputs in brackets are optional; `…` may repeat.\n";
  for (int i = 0; i < ir::kOpCount; ++i) {
    const auto& def = ops::op_def(static_cast<ir::Op>(i));
    page += "\n## " + std::string(ir::op_name(def.op)) + "(";
    for (size_t k = 0; k < def.inputs.size(); ++k) {
      const auto& in = def.inputs[k];
      const std::string name = in.name;
      page += (k ? ", " : "") + (in.arity == ops::Arity::kOptional ? "[" + name + "]" : in.arity == ops::Arity::kVariadic ? name + "…" : name);
    }
    page += ")\n\n" + std::string(def.summary) + "\n";
    if (!def.attrs.empty()) page += "\n| attribute | default | |\n|---|---|---|\n";
    for (const auto& a : def.attrs)
      page += "| " + std::string(a.name) + " | " + (a.required ? "required" : "`" + ir::print(a.fallback) + "`") + " | " + a.help + " |\n";
  }
  page += "\n# Passes\n\nIn the order of `src/passes/pipeline.cc`; some run again later.\n\n| pass | |\n|---|---|\n";
  for (const auto& pass : passes::pass_list()) page += "| " + std::string(pass.name) + " | " + pass.summary + " |\n";
  return page;
}

std::string env_page() {
  std::string page = "# Environment variables\n\nGenerated from `src/base/env.cc` by `tests/docs/generated_test.cc`.\n\n| variable | default | |\n|---|---|---|\n";
  for (const EnvVariable& v : env_table()) page += "| " + std::string(v.name) + " | " + v.fallback + " | " + v.help + " |\n";
  return page;
}

void check(const std::string& name, const std::string& expected) {
  const std::string path = std::string(TENON_SOURCE_DIR) + "/docs/" + name;
  if (std::getenv("TENON_UPDATE_DOCS") != nullptr) std::ofstream(path) << expected;
  std::ifstream file(path);
  const std::string actual{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_EQ(actual, expected) << "run the test with TENON_UPDATE_DOCS=1";
}

TEST(GeneratedDocs, OpsAndPasses) { check("ops.md", ops_page()); }
TEST(GeneratedDocs, Environment) { check("env.md", env_page()); }

}  // namespace
}  // namespace tenon
