// docs/errors.md: every code with what happened, what to do, and messages that are provoked here. TENON_UPDATE_DOCS=1
// writes it anew.
#include <set>

#include "builder/builder.h"
#include "engine/reader.h"
#include "ops/plugin_host.h"
#include "passes/pattern_file.h"
#include "tests/docs/generated.h"
#include "tests/onnx/model_builder.h"
#include "tests/support/hostile_engines.h"
#include "tests/support/small_models.h"

namespace tenon {
namespace {

using namespace onnx::test;

// A message of this code; the same on every machine.
struct Example {
  const char* cause;
  Status (*provoke)();
};

struct Row {
  ErrorCode code;
  int exit;  // of the command line
  const char* happened;
  const char* cure;
  std::vector<Example> examples;
};

std::shared_ptr<const runtime::Executable> small_engine() {
  const auto graph =
      value_or_throw(ops::parse_graph("graph @g(%ids: i64[batch,seq], %x: f32[batch,seq]) { %a = cast(%ids) {to = f32} "
                                      "%y = add(%a, %x) return \"y\" = %y }"));
  plan::PlanOptions options;
  options.target = kernels::Target::kReference;
  return test::executable_of(*graph, options);
}

Result<std::unique_ptr<runtime::Context>> create_context(const std::function<void(ContextOptions&)>& change) {
  ContextOptions options;
  change(options);
  return runtime::Context::create(small_engine(), options);
}

Status run_with(const std::string& name, const ir::Tensor& tensor, size_t memory_limit = 0) {
  auto context = value_or_throw(create_context([&](ContextOptions& o) { o.memory_limit = memory_limit; }));
  const auto ids = ir::Tensor::from(DType::kI64, {2, 3}, std::vector<int64_t>(6));
  TENON_TRY(context->inputs().set("ids", test::view_of(ids)));
  TENON_TRY(context->inputs().set(name, test::view_of(tensor)));
  return context->run();
}

ir::Tensor floats(std::vector<int64_t> shape) {
  int64_t count = 1;
  for (const int64_t d : shape) count *= d;
  return ir::Tensor::from(DType::kF32, std::move(shape), std::vector<float>(static_cast<size_t>(count)));
}

Status open_engine(const std::function<std::string(std::string)>& damage) {
  const test::TemporaryPath path("engine");
  const auto graph = value_or_throw(ops::parse_graph("graph @g(%x: f32[2]) { %y = relu(%x) return \"y\" = %y }"));
  test::write_to(path.str(), *graph);
  std::ifstream file(path.str(), std::ios::binary);
  const std::string bytes = damage({std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
  const auto copy = test::aligned_copy(bytes);
  return engine::EngineFile::from_bytes({copy.get(), bytes.size()}, copy, "model.tenon").status();
}

std::string of_version_9(std::string bytes) {
  return test::forge_header(std::move(bytes), [](engine::Header& header) { header.major = 9; });
}

Status import_with(const std::string& op, const std::vector<std::string>& inputs) {
  ModelBuilder builder;
  builder.input("x", kFloat, {"batch", "3"}).input("w", kFloat, {"4", "2"}).output("y").node(op, inputs, {"y"});
  return builder.import().status();
}

Status compile_with_unknown_precision() {
  ir::Model model;
  model.graph = std::make_unique<ir::Graph>();
  BuilderConfig config;
  config.precision = "fp99";
  return builder::compile(std::move(model), "", config).status();
}

const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
      {ErrorCode::kInvalidArgument,
       2,
       "A call or option makes no sense.",
       "The message quotes the value and what is possible. `tenon VERB --help` shows examples.",
       {{"An option's value.", compile_with_unknown_precision},
        {"A pattern file: line and column of the fault ([patterns.md](patterns.md)).",
         [] { return passes::parse_patterns("pattern p {\n  %y = rleu(%x)\n", "my.patterns").status(); }}}},
      {ErrorCode::kNotFound,
       6,
       "A file, tensor or name is not there.",
       "Check the path; `tenon inspect` lists the names of inputs and outputs.",
       {{"A path.", [] { return builder::import_model("no-such-model.onnx").status(); }},
        {"A value that no step of the engine makes.",
         [] { return create_context([](ContextOptions& o) { o.keep = {"layer.7"}; }).status(); }}}},
      {ErrorCode::kIo,
       6,
       "The system refused: full disk, permission, not a regular file.",
       "Outputs are written to a temporary name first, so nothing was lost.",
       {{"A folder where a file is wanted.", [] { return engine::EngineFile::open("/").status(); }}}},
      {ErrorCode::kBadModel,
       3,
       "The ONNX file, checkpoint or tokenizer is damaged or contradicts itself.",
       "The message names the file, the node or tensor, and the cause. Export or download it again.",
       {{"A file of another kind, or cut short.", [] { return ModelBuilder::import_text("no model").status(); }},
        {"A node that reads what nothing makes.", [] { return import_with("Relu", {"z"}); }},
        {"Shapes that do not fit: the node, the operator and the types.",
         [] {
           return import_with("MatMul", {"x", "w"});
         }}}},
      {ErrorCode::kUnsupported,
       3,
       "Valid, but Tenon cannot do it yet. All operators that are missing are listed with their nodes.",
       "`tenon inspect MODEL` shows them; another export option may avoid them; a library of your own can bring them "
       "([plugins.md](plugins.md)).",
       {{"Operators that Tenon lacks.", [] { return import_with("Frobnicate", {"x"}); }}}},
      {ErrorCode::kBadEngine,
       4,
       "The engine file is truncated, damaged, or no engine.",
       "Build it again.",
       {{"A file that is no engine.",
         [] { return open_engine([](std::string bytes) { return bytes.replace(0, 8, "%PDF-1.7"); }); }},
        {"A file that was cut short.",
         [] { return open_engine([](const std::string& bytes) { return bytes.substr(0, 100); }); }},
        {"A byte that changed on its way.",
         [] { return open_engine([](std::string bytes) { return ++bytes[300], bytes; }); }}}},
      {ErrorCode::kEngineVersion,
       4,
       "The engine was made by a newer Tenon, needs kernels that this one does not have, or has no code for this machine's "
       "GPU.",
       "Update Tenon, or build the engine again; for another GPU the message names the command that adds it.",
       {{"A newer format.", [] { return open_engine(of_version_9); }}}},
      {ErrorCode::kBadInput,
       5,
       "A tensor that the engine cannot take: wrong name, dtype or shape; an id outside the vocabulary; a mask that is "
       "not 0/1.",
       "The message says what was expected, and names the row and column of a wrong value.",
       {{"A name that the engine does not have.",
         [] {
           return run_with("mask", floats({2, 3}));
         }},
        {"A tensor of another type.",
         [] {
           return run_with("x", ir::Tensor::from(DType::kF64, {2, 3}, std::vector<double>(6)));
         }},
        {"Sizes that contradict each other.",
         [] {
           return run_with("x", floats({2, 4}));
         }}}},
      {ErrorCode::kOutOfMemory,
       6,
       "An allocation failed, or a run needs more than `memory_limit`.",
       "Smaller batches.",
       {{"More memory than a context may use.",
         [] {
           return run_with("x", floats({2, 3}), 1);
         }}}},
      {ErrorCode::kNoDevice,
       6,
       "No NVIDIA GPU, driver or NVRTC where one is needed.",
       "The message says which. An engine with a CPU target runs without.",
       {}},
      {ErrorCode::kPlugin,
       6,
       "A library of your own operators cannot be loaded, or its code failed ([plugins.md](plugins.md)).",
       "The message names the library, or the operator, its node and what it said.",
       {{"A library built for another version of the interface.",
         [] {
           static const tenon_plugin_library library = {TENON_PLUGIN_ABI + 1, "acme", nullptr, 0};
           return ops::add_plugin_library(&library, "libacme.so");
         }},
        {"A model or engine whose plugin is not loaded.",
         [] {
           const auto graph =
               value_or_throw(ops::parse_graph("graph @g(%x: f32[2]) { %y = plugin(%x) {operator = \"acme.Scale\", "
                                               "version = \"1\", library = \"acme\", state = \"\", "
                                               "dtypes = \"f32\", ranks = [1], dims = dims[2]} return \"y\" = %y }"));
           return plan::make_plan(*graph).status();
         }}}},
      {ErrorCode::kInternal, 70, "A bug in Tenon.", "Please report it with the message and the model.", {}},
  };
  return all;
}

TEST(GeneratedDocs, Errors) {
  std::string page =
      "# Errors\n\nWritten by `tests/docs/errors_test.cc`, which provokes every message below. Messages end with a "
      "code in parentheses; "
      "programs see it as `tenon::Error::code()`. The second number is the exit code of the command line.\n";
  std::set<ErrorCode> described;
  for (const Row& row : rows()) {
    described.insert(row.code);
    page += fmt::format("\n## {} ({})\n\n{} {}\n", error_code_name(row.code), row.exit, row.happened, row.cure);
    for (const Example& example : row.examples) {
      Status status;
      try {
        status = example.provoke();
      } catch (const Error& e) {
        status = Status(e.code(), e.what());
      }
      EXPECT_EQ(status.code(), row.code) << example.cause << " " << status.message();
      page += fmt::format("\n{}\n\n```\n{}\n```\n", example.cause, status.message());
    }
  }
  for (int code = 1; code <= static_cast<int>(ErrorCode::kPlugin); ++code) {
    EXPECT_TRUE(described.contains(static_cast<ErrorCode>(code))) << error_code_name(static_cast<ErrorCode>(code));
  }
  test::check_page("errors.md", page);
}

}  // namespace
}  // namespace tenon
