// The whole path on the GPU, for every export and checkpoint of the corpus: model -> 16-bit engine -> recorded outputs.
// Without a GPU the plan is made and looked at.
#include <cstring>
#include <filesystem>

#include "builder/builder.h"
#include "builder/tuning.h"
#include "kernels/cuda/cublaslt.h"
#include "tenon/builder.h"
#include "tenon/runtime.h"
#include "tests/cuda/run_cuda_kernel.h"
#include "plan/device_code.h"
#include "plan/gpu_timer.h"
#include "tests/support/golden.h"
#include "tests/support/small_models.h"

namespace tenon::test {
namespace {

std::vector<GoldenCase> all_cases() {
  std::vector<GoldenCase> cases = golden_cases("onnx");
  for (GoldenCase& c : golden_cases("checkpoint")) cases.push_back(std::move(c));
  return cases;
}

class GpuEngine : public testing::TestWithParam<GoldenCase> {};

plan::PlannedModel plan_for_gpu(ir::Graph& graph) {
  passes::PipelineOptions options;
  options.precision = DType::kF16;
  options.channels_last = true;
  const auto report = passes::run_pipeline(graph, options);
  EXPECT_TRUE(report.ok()) << report.status().message();
  plan::PlanOptions plan_options;
  plan_options.target = kernels::Target::kCuda;
  return value_or_throw(plan::make_plan(graph, plan_options));
}

// Why no CUDA kernel takes a step; the corpus has widths and heads of odd sizes, which are left to the host.
std::string refusals(const plan::PlannedModel& planned, size_t step) {
  std::string all;
  for (const plan::KernelRejection& r : planned.rejections)
    if (r.step == static_cast<int>(step) && r.kernel.starts_with("cuda.")) all += r.kernel + ": " + r.reason + "; ";
  return all;
}

// Once on the GPU, a model that packs, or one of images, stays there: what comes after is computed there, unless its
// sizes are odd.
TEST_P(GpuEngine, StaysOnTheGpu) {
  const GoldenCase& golden = GetParam();
  if (!golden.packable.value_or(false) && golden.conv == 0) return;
  ir::Model model = value_or_throw(builder::import_model(golden.path, false));
  const plan::PlannedModel planned = plan_for_gpu(*model.graph);
  const engine::Plan& plan = planned.plan;
  bool seen = false;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const engine::PlanStep& step = plan.steps[i];
    const engine::PlanValue& out = plan.values[static_cast<size_t>(step.outputs[0])];
    const bool device = out.place == engine::Place::kDevice;
    seen = seen || (device && step.op != ir::Op::k_copy);
    if (!seen || device || step.op == ir::Op::k_copy || !is_float(out.type.dtype)) continue;
    EXPECT_THAT(refusals(planned, i), testing::HasSubstr("multiple of")) << ir::op_name(step.op) << " %" << out.name;
  }
  EXPECT_TRUE(seen);
}

// `uploads`: inputs are given in the GPU's memory, which is added there.
void set_inputs(ExecutionContext& context, const Engine& engine, const GoldenCase& golden, int shape,
                std::vector<std::unique_ptr<DeviceBuffer>>* uploads = nullptr) {
  context.clear_inputs();
  for (const TensorInfo& in : engine.inputs()) {
    const Tensor* t = golden.find(shape, "in", in.name);
    if (t == nullptr) continue;
    TensorView view{t->dtype(), t->shape(), const_cast<std::byte*>(t->data())};
    if (uploads != nullptr && t->numel() > 0) {
      auto& data = uploads->emplace_back(
          std::make_unique<DeviceBuffer>(static_cast<size_t>(t->numel()) * dtype_size(t->dtype())));
      data->upload(t->data());
      view.data = data->data();
      view.on_device = true;
    }
    context.set_input(in.name, view);
  }
  if (uploads != nullptr) {
    EXPECT_EQ(gpu()->api().cuStreamSynchronize(nullptr), 0);
  }
}

std::string bytes_of(const TensorView& view) {
  int64_t count = 1;
  for (const int64_t size : view.shape) count *= size;
  std::string bytes(static_cast<size_t>(count) * dtype_size(view.dtype), '\0');
  if (bytes.empty()) return bytes;
  if (!view.on_device) {
    std::memcpy(bytes.data(), view.data, bytes.size());
  } else {
    const auto from = reinterpret_cast<cuda::DevicePtr>(view.data);
    EXPECT_EQ(gpu()->api().cuMemcpyDtoHAsync(bytes.data(), from, bytes.size(), nullptr), 0);
  }
  return bytes;
}

TEST_P(GpuEngine, AgreesWithTheRecordedOutputs) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  const GoldenCase& golden = GetParam();
  for (const auto& [precision, allowed] : {std::pair{"fp32", 1e-4}, {"tf32", 0.02}, {"fp16", 0.02}, {"bf16", 0.15}}) {
    SCOPED_TRACE(precision);
    const std::string path = testing::TempDir() + "/gpu_" + test_name(golden) + ".tenon";
    BuilderConfig config;
    config.gather_masked = false;
    config.target = "cuda";
    config.precision = precision;
    const bool narrow = config.precision != "fp32";
    Builder().build(golden.path, path, config);
    const Engine engine = Engine::load(path, {.threads = 1});
    std::filesystem::remove(path);
    ExecutionContext context = engine.create_execution_context();
    ContextOptions options;
    options.outputs_on_device = true;
    ExecutionContext on_device = engine.create_execution_context(options);
    for (int shape = 0; shape < golden.shapes; ++shape) {
      set_inputs(context, engine, golden, shape);
      context.execute();
      std::vector<std::unique_ptr<DeviceBuffer>> uploads;
      set_inputs(on_device, engine, golden, shape, &uploads);
      on_device.execute();
      for (const auto& out : golden.outputs) {
        const Tensor* expected = golden.find(shape, "out", out.name);
        const auto infos = engine.outputs();
        const bool has =
            std::any_of(infos.begin(), infos.end(), [&](const TensorInfo& i) { return i.name == out.name; });
        if (expected == nullptr || !has) continue;
        const TensorView actual = context.output(out.name);
        const Tensor tensor(actual.dtype, actual.shape, nullptr, static_cast<const std::byte*>(actual.data));
        EXPECT_EQ(bytes_of(context.output(out.name)), bytes_of(on_device.output(out.name))) << out.name;
        double largest = 1;
        for (int64_t i = 0; i < expected->numel(); ++i) largest = std::max(largest, std::abs(expected->at(i)));
        EXPECT_LE(worst_difference(tensor, *expected, golden.valid(shape), out.rows == "tokens"),
                  std::max({allowed * largest, golden.tolerance, narrow ? golden.rounding : 0}))
            << out.name << ", shape " << shape;
      }
    }
  }
}

// One engine for this GPU, for sm_80, whose PTX the driver translates here, and for the CPU.
TEST(GpuTargets, EachTargetOfOneEngineAgreesWithTheRecordedOutputs) {
  if (cuda::nvrtc_version() == 0) GTEST_SKIP() << "no NVRTC";
  for (const GoldenCase& golden : golden_cases("checkpoint")) {
    if (golden.name != "bert-seqcls") continue;
    const std::string path = testing::TempDir() + "/gpu_targets.tenon";
    BuilderConfig config;
    config.target = gpu() != nullptr ? "cuda,sm_80,cpu,cuda" : "sm_90,cpu";
    config.precision = "fp16";
    const BuildReport report = Builder().build(golden.path, path, config);
    EXPECT_THAT(report.notes, testing::Contains(testing::HasSubstr("cpu computes in fp32: fp16 needs a GPU")));
    for (const std::string& target : report.targets) {
      if (gpu() == nullptr && target != "cpu") continue;
      SCOPED_TRACE(target);
      const Engine engine = Engine::load(path, {.threads = 1, .target = target});
      EXPECT_EQ(engine.target(), target);
      EXPECT_EQ(engine.targets(), report.targets);
      ExecutionContext context = engine.create_execution_context();
      for (int shape = 0; shape < golden.shapes; ++shape) {
        set_inputs(context, engine, golden, shape);
        context.execute();
        for (const auto& out : golden.outputs) {
          const Tensor* expected = golden.find(shape, "out", out.name);
          if (expected == nullptr) continue;
          const TensorView actual = context.output(out.name);
          const Tensor tensor(actual.dtype, actual.shape, nullptr, static_cast<const std::byte*>(actual.data));
          EXPECT_LE(worst_difference(tensor, *expected, golden.valid(shape), out.rows == "tokens"), 0.02) << out.name << ", shape " << shape;
        }
      }
    }
    std::filesystem::remove(path);
    return;
  }
  FAIL() << "the corpus has no bert-seqcls";
}

// cuBLASLt timed, chosen and run in recorded graphs, wherever it computes a linear at all.
TEST(GpuTactics, EnginesByALibraryAgreeWithTheRecordedOutputs) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  if (!cuda::cublaslt().ok()) GTEST_SKIP() << cuda::cublaslt().status().message();
  const std::vector<GoldenCase> cases = golden_cases("checkpoint");
  const auto golden = std::ranges::find(cases, "bert-seqcls", &GoldenCase::name);
  ASSERT_NE(golden, cases.end());
  const std::string path = testing::TempDir() + "/gpu_tactics.tenon";
  BuilderConfig config;
  config.target = "cuda";
  config.precision = "fp16";
  config.disabled_passes = {"fold-layer-norm"};  // libraries do not fold them
  config.tactics = {"cublaslt"};
  config.timing_cache = testing::TempDir() + "/gpu_tactics.jsonl";
  std::filesystem::remove(config.timing_cache);
  config.tune = true;
  plan::TuneOptions libraries;
  libraries.only = {"cublaslt*"};
  const builder::TuneReport tuned = value_or_throw(builder::tune(golden->path, config, libraries));
  EXPECT_FALSE(tuned.results.empty());
  for (const plan::TuneResult& r : tuned.results) EXPECT_FALSE(r.timings.empty()) << r.problem->text << ", " << r.rows << " rows";
  config.tune = false;
  Builder().build(golden->path, path, config);
  std::filesystem::remove(config.timing_cache);
  const auto by_library = [](const engine::PlanStep& s) { return s.kernels[0].config.starts_with("cublaslt"); };
  EXPECT_GT(std::ranges::count_if(load_from(path)->plan().steps, by_library), 0);
  const Engine engine = Engine::load(path, {.threads = 1});
  std::filesystem::remove(path);
  ExecutionContext context = engine.create_execution_context();
  for (int turn = 0; turn < 3; ++turn) {  // recorded, then replayed
    for (int shape = 0; shape < golden->shapes; ++shape) {
      set_inputs(context, engine, *golden, shape);
      context.execute();
      for (const auto& out : golden->outputs) {
        const Tensor* expected = golden->find(shape, "out", out.name);
        if (expected == nullptr) continue;
        const TensorView actual = context.output(out.name);
        const Tensor tensor(actual.dtype, actual.shape, nullptr, static_cast<const std::byte*>(actual.data));
        EXPECT_LE(worst_difference(tensor, *expected, golden->valid(shape), out.rows == "tokens"), 0.02) << out.name << ", shape " << shape;
      }
    }
  }
}

// Which graphs were recorded, and when, changes no bit: contexts that were warm from the start, and ones that meet each shape
// for the first, second and third time.
// An encoder of ids below 100 that packs its tokens, compiled for the GPU at hand.
std::shared_ptr<const runtime::Executable> encoder_on_gpu(Random& random) {
  const auto graph = graph_from(packed_encoder(), random);
  passes::PipelineOptions passes;
  passes.precision = DType::kF16;
  value_or_throw(passes::run_pipeline(*graph, passes));
  plan::PlanOptions options;
  options.target = kernels::Target::kCuda;
  options.machine = value_or_throw(plan::machine_at_hand());
  options.profiles = {{{{"input_ids", {1, 1}, {2, 32}, {4, 64}}}}};
  plan::PlannedModel planned = value_or_throw(plan::make_plan(*graph, options));
  plan::KernelCache cache;
  throw_if_error(plan::compile_codes(planned, cache));
  const TemporaryPath path("encoder");
  value_or_throw(engine::write_engine(path.str(), planned.plan, {}, [&](int i) { return planned.make_weight(i); }));
  return load_from(path.str());
}

TEST(GpuGraphs, WarmAndColdContextsGiveTheSameBits) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  Random random;
  SCOPED_TRACE(random.trace());
  const auto executable = encoder_on_gpu(random);
  const auto context_with = [&](ContextOptions::Warm warm) {
    ContextOptions context;
    context.warm = warm;
    return value_or_throw(runtime::Context::create(executable, context));
  };
  const auto cold = context_with(ContextOptions::Warm::kNone), usual = context_with(ContextOptions::Warm::kOptimum),
             warm = context_with(ContextOptions::Warm::kAll);
  EXPECT_EQ(cold->graphs_recorded(), 0);
  EXPECT_GT(usual->graphs_recorded(), 0);
  EXPECT_GT(warm->graphs_recorded(), usual->graphs_recorded());
  for (const auto& [batch, seq] : {std::pair<int64_t, int64_t>{2, 32}, {2, 31}, {1, 1}, {4, 64}, {3, 17}, {2, 33}, {1, 64}, {2, 32}}) {
    SCOPED_TRACE(std::to_string(batch) + " x " + std::to_string(seq));
    const Tensor ids = random.tensor(DType::kI64, {batch, seq}, 0, 99);
    std::vector<int64_t> ones(static_cast<size_t>(batch * seq));
    for (int64_t row = 0; row < batch; ++row)
      for (int64_t i = random.integer(0, 1) * random.integer(0, seq - 1); i < seq; ++i) ones[static_cast<size_t>(row * seq + i)] = 1;
    const Tensor mask = Tensor::from(DType::kI64, {batch, seq}, ones);
    std::string expected;
    for (int time = 0; time < 3; ++time) {
      for (runtime::Context* context : {cold.get(), usual.get(), warm.get()}) {
        throw_if_error(context->inputs().set("input_ids", view_of(ids)));
        throw_if_error(context->inputs().set("attention_mask", view_of(mask)));
        throw_if_error(context->run());
        const std::string bytes = bytes_of(value_or_throw(context->output("hidden"))) + bytes_of(value_or_throw(context->output("lengths")));
        if (expected.empty()) expected = bytes;
        EXPECT_TRUE(bytes == expected) << (context == cold.get() ? "cold" : context == warm.get() ? "warm" : "usual") << ", time " << time;
      }
    }
  }
  // Every count of tokens that its masks may leave was recorded when the context was made.
  const int before = warm->graphs_recorded();
  const Tensor ids = random.tensor(DType::kI64, {4, 63}, 0, 99), mask = Tensor::from(DType::kI64, {4, 63}, std::vector<int64_t>(4 * 63, 1));
  throw_if_error(warm->inputs().set("input_ids", view_of(ids)));
  throw_if_error(warm->inputs().set("attention_mask", view_of(mask)));
  throw_if_error(warm->run());
  EXPECT_EQ(warm->graphs_recorded(), before);
}

TEST(GpuInputs, IdsAndMasksOnTheGpuAreCheckedAndGiveTheSameBits) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  Random random;
  SCOPED_TRACE(random.trace());
  const auto context = value_or_throw(runtime::Context::create(encoder_on_gpu(random)));
  DeviceBuffer ids_there(8 * 3 * 17), mask_there(8 * 3 * 17);
  const auto run_there = [&](const Tensor& ids, const Tensor& mask) {
    for (auto [name, tensor, there] : {std::tuple{"input_ids", &ids, &ids_there}, {"attention_mask", &mask, &mask_there}}) {
      there->upload(tensor->data());
      TensorView view = view_of(*tensor);
      view.data = there->data();
      view.on_device = true;
      throw_if_error(context->inputs().set(name, view));
    }
    EXPECT_EQ(gpu()->api().cuStreamSynchronize(nullptr), 0);
    return context->run();
  };
  const auto hidden = [&] { return bytes_of(value_or_throw(context->output("hidden"))); };
  std::vector<int64_t> ones(3 * 17, 1);
  std::fill(ones.begin() + 17 + 5, ones.begin() + 2 * 17, 0);  // the second row has five tokens
  const Tensor mask = Tensor::from(DType::kI64, {3, 17}, ones);
  std::string last;
  for (int round = 0; round < 3; ++round) {  // what lies there changes from run to run
    const Tensor ids = random.tensor(DType::kI64, {3, 17}, 0, 99);
    throw_if_error(run_there(ids, mask));
    const std::string there = hidden();
    throw_if_error(context->inputs().set("input_ids", view_of(ids)));
    throw_if_error(context->inputs().set("attention_mask", view_of(mask)));
    throw_if_error(context->run());
    EXPECT_EQ(there, hidden());
    EXPECT_NE(there, last);
    last = there;
  }
  std::vector<int64_t> wrong(3 * 17, 1);
  wrong[17 + 9] = 1 << 30;  // hidden
  throw_if_error(run_there(Tensor::from(DType::kI64, {3, 17}, wrong), mask));
  wrong[17 + 3] = 100;
  const Status refused = run_there(Tensor::from(DType::kI64, {3, 17}, wrong), mask);
  EXPECT_EQ(refused.code(), ErrorCode::kBadInput);
  EXPECT_THAT(refused.message(), testing::HasSubstr("input \"input_ids\", row 1, column 3: the id 100 is out of range"));
}

INSTANTIATE_TEST_SUITE_P(Corpus, GpuEngine, testing::ValuesIn(all_cases()),
                         [](const auto& at) { return test_name(at.param); });

}  // namespace
}  // namespace tenon::test
