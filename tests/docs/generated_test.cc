// docs/ops.md, docs/operators.md and docs/env.md say what the tables say. TENON_UPDATE_DOCS=1 writes them anew.
#include "tests/docs/generated.h"

#include "base/env.h"
#include "ir/text.h"
#include "onnx/op_table.h"
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

std::string operators_page() {
  std::string page =
      "# ONNX operators\n\nGenerated from `src/onnx/op_table.cc` by `tests/docs/generated_test.cc`. Operators that are "
      "functions of others in a "
      "model's own function list need no row here.\nWhich kernels run them: [conformance.md](conformance.md). "
      "Sequences exist while a "
      "model is imported only; training, strings, optionals, random generators and image decoding are refused by "
      "name.\n";
  std::string domain = "?";
  const auto rows = onnx::op_table();
  for (size_t i = 0; i < rows.size(); ++i) {
    onnx::OpRow row = rows[i];
    // What changed between opsets has a row for each form.
    while (i + 1 < rows.size() && rows[i + 1].name == row.name) row.last = rows[++i].last;
    if (row.domain != domain) {
      domain = row.domain;
      page += "\n## " + (domain.empty() ? "Standard operators" : domain) + "\n\n| operator | opsets |\n|---|---|\n";
    }
    page +=
        fmt::format("| {} | {} |\n", row.name,
                    row.first == row.last ? std::to_string(row.first) : fmt::format("{} to {}", row.first, row.last));
  }
  return page;
}

TEST(GeneratedDocs, OpsAndPasses) { test::check_page("ops.md", ops_page()); }
TEST(GeneratedDocs, OnnxOperators) { test::check_page("operators.md", operators_page()); }
TEST(GeneratedDocs, Environment) { test::check_page("env.md", env_page()); }

}  // namespace
}  // namespace tenon
