// Writing engine files and reading them back.
#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "engine/reader.h"
#include "tests/support/small_models.h"

namespace tenon::test {
namespace {

using engine::EngineFile;

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

engine::Metadata sample_metadata() {
  engine::Metadata m;
  m.tenon_version = "0.1.0";
  m.model_source = "model.onnx (opset 17)";
  m.architecture = "bert";
  m.task = "sequence-classification";
  m.labels = {"negative", "positive"};
  m.properties = {{"max_position_embeddings", "512"}, {"similarity", "cosine"}};
  m.notes = {"no attention mask", ""};
  m.build_options = {{"target", "cpu"}};
  m.graph_imported = "graph @main() {}";
  m.plans = {{"graph @compiled() {}",
              {{"fuse_qkv", "linear %12", "fused", ""}, {"pack_tokens", "graph", "declined", "no mask"}},
              {{"linear_3", "/encoder/Add_1", "packed"}}}};
  m.tokenizer = std::string("\0\1\2 bytes", 9);
  return m;
}

TEST(EngineFile, GivesBackWhatWasWritten) {
  Random random;
  const auto graph = graph_from(kPackedModel, random);
  const engine::Metadata written = sample_metadata();
  engine::Profile profile{{{"input_ids", {1, 1}, {4, 8}, {8, 64}}}};
  const TemporaryPath path("engine");
  write_to(path.str(), *graph, {.target = kernels::Target::kCpu, .profiles = {profile}, .roles = {}, .limits = {{"seq", 64}}}, written);
  const auto file = value_or_throw(EngineFile::open(path.str()));
  const engine::Metadata read = value_or_throw(file->read_texts());
  EXPECT_EQ(read.tenon_version, written.tenon_version);
  EXPECT_EQ(read.model_source, written.model_source);
  EXPECT_EQ(read.architecture, written.architecture);
  EXPECT_EQ(read.task, written.task);
  EXPECT_EQ(read.labels, written.labels);
  EXPECT_EQ(read.properties, written.properties);
  EXPECT_EQ(read.notes, written.notes);
  EXPECT_EQ(read.build_options, written.build_options);
  EXPECT_EQ(read.graph_imported, written.graph_imported);
  ASSERT_EQ(read.plans.size(), 1u);
  EXPECT_EQ(read.plans[0].graph_compiled, written.plans[0].graph_compiled);
  ASSERT_EQ(read.plans[0].decisions.size(), 2u);
  EXPECT_EQ(read.plans[0].decisions[1].reason, "no mask");
  for (const engine::PlanSymbol& symbol : file->plan().symbols) EXPECT_EQ(symbol.limit, symbol.name == "seq" ? 64 : 0) << symbol.name;
  ASSERT_EQ(read.plans[0].origins.size(), 1u);
  EXPECT_EQ(read.plans[0].origins[0].kind, "packed");
  EXPECT_EQ(file->tokenizer(), written.tokenizer);

  const engine::Plan planned = value_or_throw(plan::make_plan(*graph)).plan;
  const engine::Plan& plan = file->plan();
  ASSERT_EQ(plan.steps.size(), planned.steps.size());
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    EXPECT_EQ(plan.steps[i].op, planned.steps[i].op);
    EXPECT_TRUE(plan.steps[i].attrs == planned.steps[i].attrs);
    EXPECT_EQ(plan.steps[i].inputs, planned.steps[i].inputs);
    EXPECT_EQ(plan.steps[i].outputs, planned.steps[i].outputs);
    EXPECT_EQ(plan.steps[i].kernels[0].kernel, planned.steps[i].kernels[0].kernel);
  }
  ASSERT_EQ(plan.values.size(), planned.values.size());
  for (size_t i = 0; i < plan.values.size(); ++i) {
    EXPECT_EQ(plan.values[i].name, planned.values[i].name);
    EXPECT_EQ(plan.values[i].type, planned.values[i].type);
    EXPECT_EQ(plan.values[i].alias_of, planned.values[i].alias_of);
    EXPECT_EQ(plan.values[i].first_step, planned.values[i].first_step);
    EXPECT_EQ(plan.values[i].last_step, planned.values[i].last_step);
  }
  ASSERT_EQ(plan.profiles.size(), 1u);
  EXPECT_EQ(plan.profiles[0].ranges[0].max, (std::vector<int64_t>{8, 64}));
}

TEST(EngineFile, EqualBuildsGiveEqualBytes) {
  Random random;
  const auto graph = graph_from(kPackedModel, random);
  const TemporaryPath first("first"), second("second");
  write_to(first.str(), *graph, {}, sample_metadata());
  write_to(second.str(), *graph->clone(), {}, sample_metadata());
  EXPECT_EQ(contents(first.str()), contents(second.str()));
}

TEST(EngineFile, WritingReplacesAnOlderFileWhole) {
  Random random;
  const TemporaryPath path("engine");
  std::ofstream(path.str()) << "older";
  write_to(path.str(), *graph_from(kDenseModel, random));
  EXPECT_TRUE(EngineFile::open(path.str()).ok());
}

// Files that `folder` holds.
size_t count_files(const std::string& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

TEST(EngineFile, AFullDiskLeavesTheOlderFileAndNoOther) {
  Random random;
  const auto graph = graph_from(kDenseModel, random);
  const auto model = value_or_throw(plan::make_plan(*graph));
  const std::string folder = testing::TempDir() + "tenon-full-" + std::to_string(::getpid());
  std::filesystem::create_directory(folder);
  const std::string path = folder + "/engine";
  std::ofstream(path) << "older";

  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1024, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto written = engine::write_engine(path, model.plan, {}, [&](int i) { return model.make_weight(i); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);

  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.status().code(), ErrorCode::kIo);
  EXPECT_NE(written.status().message().find(path), std::string::npos) << written.status().message();
  EXPECT_EQ(contents(path), "older");
  EXPECT_EQ(count_files(folder), 1u);
  std::filesystem::remove_all(folder);
}

TEST(EngineFile, AWeightThatFailsLeavesNoFile) {
  Random random;
  const auto graph = graph_from(kDenseModel, random);
  const auto model = value_or_throw(plan::make_plan(*graph));
  const std::string folder = testing::TempDir() + "tenon-weight-" + std::to_string(::getpid());
  std::filesystem::create_directory(folder);
  const auto written = engine::write_engine(folder + "/engine", model.plan, {}, [&](int i) -> Result<ir::Tensor> {
    if (i == 1) return error(ErrorCode::kBadModel, "no such bytes");
    return model.make_weight(i);
  });
  ASSERT_FALSE(written.ok());
  EXPECT_NE(written.status().message().find("no such bytes"), std::string::npos);
  EXPECT_EQ(count_files(folder), 0u);
  std::filesystem::remove_all(folder);
}

TEST(EngineFile, AFolderThatIsNotThereIsNamed) {
  Random random;
  const auto graph = graph_from(kDenseModel, random);
  const auto model = value_or_throw(plan::make_plan(*graph));
  const auto written = engine::write_engine("/nowhere/at/all", model.plan, {}, [&](int i) { return model.make_weight(i); });
  ASSERT_FALSE(written.ok());
  EXPECT_NE(written.status().message().find("/nowhere/at/all"), std::string::npos);
}

// Every engine that a release has written must load, or be refused by version.
TEST(EngineFile, GoldenEnginesLoad) {
  const std::string folder = std::string(TENON_SOURCE_DIR) + "/tests/golden/engines";
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    ++count;
    const auto loaded = runtime::Executable::load(entry.path(), std::make_shared<ThreadPool>(1));
    EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  }
  EXPECT_GT(count, 0);
}

}  // namespace
}  // namespace tenon::test
