// Contexts: side by side, warm, with values to keep, and through the public API.
#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "tests/support/small_models.h"
#include "tests/support/tolerance.h"

namespace {
std::atomic<int64_t> allocations{0};
}

// Counts what this program allocates.
void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace tenon::test {
namespace {

using runtime::Context;

struct Request {
  ir::Tensor ids, mask;
};

Request request_of(Random& random, int64_t batch, int64_t seq) {
  std::vector<int64_t> mask(static_cast<size_t>(batch * seq));
  for (auto& m : mask) m = random.chance(0.7);
  return {random.tensor(DType::kI64, {batch, seq}, 0, 9), ir::Tensor::from(DType::kI64, {batch, seq}, mask)};
}

Status run(Context& context, const Request& request) {
  TENON_TRY(context.inputs().set("input_ids", view_of(request.ids)));
  TENON_TRY(context.inputs().set("attention_mask", view_of(request.mask)));
  return context.run();
}

ir::Tensor hidden(const Context& context) { return tensor_of(value_or_throw(context.output("hidden"))); }

TEST(Context, ThreadsShareAnEngineAndGiveTheSameBits) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto graph = graph_from(kPackedModel, random);
  const auto executable = executable_of(*graph, {}, 2);
  std::vector<Request> requests;
  std::vector<ir::Tensor> expected;
  const auto alone = value_or_throw(Context::create(executable));
  for (int i = 0; i < 8; ++i) {
    requests.push_back(request_of(random, random.integer(1, 6), random.integer(1, 20)));
    throw_if_error(run(*alone, requests.back()));
    expected.push_back(hidden(*alone));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const auto context = value_or_throw(Context::create(executable));
      for (int i = 0; i < 40; ++i) {
        const size_t r = static_cast<size_t>(i + t) % requests.size();
        if (!run(*context, requests[r]).ok() || !hidden(*context).same_bytes(expected[r])) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Context, NeighboursAndThreadsDoNotChangeARow) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto graph = graph_from(kPackedModel, random);
  const auto one = value_or_throw(Context::create(executable_of(*graph, {}, 1)));
  const auto three = value_or_throw(Context::create(executable_of(*graph, {}, 3)));
  const Request request = request_of(random, 9, 12);
  throw_if_error(run(*one, request));
  throw_if_error(run(*three, request));
  EXPECT_TRUE(hidden(*one).same_bytes(hidden(*three)));
}

TEST(Context, AWarmBucketAllocatesNothing) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto graph = graph_from(kPackedModel, random);
  const auto context = value_or_throw(Context::create(executable_of(*graph, {}, 2)));
  const Request large = request_of(random, 6, 40);
  std::vector<Request> smaller;
  for (int i = 0; i < 20; ++i) smaller.push_back(request_of(random, random.integer(1, 6), random.integer(1, 40)));
  Request all = large;
  all.mask = ir::Tensor::from(DType::kI64, {6, 40}, std::vector<int64_t>(240, 1));
  throw_if_error(run(*context, all));
  const size_t bytes = context->arena_bytes();
  for (const Request& r : smaller) {
    throw_if_error(context->inputs().set("input_ids", view_of(r.ids)));
    throw_if_error(context->inputs().set("attention_mask", view_of(r.mask)));
    const int64_t before = allocations.load();
    const Status status = context->run();
    const int64_t after = allocations.load();
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(after - before, 0) << ir::to_string(ir::to_shape(r.ids.shape()));
  }
  EXPECT_EQ(context->arena_bytes(), bytes);
}

TEST(Context, MemoryIsLinearInLength) {
  Random random;
  const auto graph = graph_from(kPackedModel, random);
  const auto executable = executable_of(*graph);
  const auto arena_at = [&](int64_t seq) {
    const auto context = value_or_throw(Context::create(executable));
    const Request r = request_of(random, 1, seq);
    throw_if_error(run(*context, r));
    return static_cast<double>(context->arena_bytes());
  };
  EXPECT_LE(arena_at(4096), 8.5 * arena_at(512));
}

TEST(Context, KeptValuesOutliveTheRun) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto graph = graph_from(kDenseModel, random);
  const auto executable = executable_of(*graph);
  ContextOptions options;
  options.keep = {"h", "e", "y"};
  const auto context = value_or_throw(Context::create(executable, options));
  const auto plain = value_or_throw(Context::create(executable));
  const ir::Tensor x = random.tensor(DType::kF32, {5, 8});
  for (Context* c : {context.get(), plain.get()}) {
    throw_if_error(c->inputs().set("x", view_of(x)));
    throw_if_error(c->run());
  }
  const ir::Tensor h = tensor_of(value_or_throw(context->kept("h"))), e = tensor_of(value_or_throw(context->kept("e")));
  ASSERT_EQ(e.shape(), (std::vector<int64_t>{10, 8}));
  for (int64_t i = 0; i < 80; ++i) EXPECT_NEAR(e.at(i), std::exp(h.at(i)), 1e-5);
  EXPECT_TRUE(tensor_of(value_or_throw(context->output("probabilities"))).same_bytes(tensor_of(value_or_throw(plain->output("probabilities")))));
  EXPECT_EQ(context->kept("p").status().code(), ErrorCode::kNotFound);
  options.keep = {"no such value"};
  EXPECT_EQ(Context::create(executable, options).status().code(), ErrorCode::kNotFound);
}

class CountingProfiler final : public Profiler {
 public:
  void step(std::string_view name, std::string_view kernel, double seconds) override {
    EXPECT_FALSE(name.empty() || kernel.empty());
    EXPECT_GE(seconds, 0);
    ++steps;
  }
  size_t steps = 0;
};

TEST(PublicApi, LoadsAndRuns) {
  Random random;
  const TemporaryPath path("engine");
  write_to(path.str(), *graph_from(kPackedModel, random));
  const Runtime runtime({.threads = 2});
  EXPECT_EQ(runtime.threads(), 2);
  const Engine engine = runtime.load_engine(path.str());
  const auto inputs = engine.inputs();
  ASSERT_EQ(inputs.size(), 3u);
  EXPECT_EQ(inputs[0].axes, (std::vector<std::string>{"batch", "seq"}));
  EXPECT_EQ(inputs[0].shape, (std::vector<int64_t>{-1, -1}));
  EXPECT_EQ(inputs[0].limit, 10);
  EXPECT_FALSE(inputs[0].optional);
  EXPECT_TRUE(inputs[1].optional);
  EXPECT_EQ(engine.outputs()[0].shape, (std::vector<int64_t>{-1, -1, 4}));

  ExecutionContext context = engine.create_execution_context();
  CountingProfiler profiler;
  context.set_profiler(&profiler);
  int64_t ids[] = {1, 2, 3};
  std::vector<float> buffer(12);
  EXPECT_THROW(context.output("hidden"), Error);
  context.set_input("input_ids", {DType::kI64, {1, 3}, ids});
  context.set_output("hidden", {DType::kF32, {1, 3, 4}, buffer.data()});
  context.execute();
  const TensorView y = context.output("hidden");
  EXPECT_EQ(y.shape, (std::vector<int64_t>{1, 3, 4}));
  EXPECT_EQ(std::memcmp(y.data, buffer.data(), 48), 0);
  EXPECT_EQ(profiler.steps, engine.executable()->plan().steps.size());
  EXPECT_THROW(context.output("no such output"), Error);
  context.set_output("hidden", {DType::kF32, {1, 4, 4}, buffer.data()});
  EXPECT_THROW(context.execute(), Error);
  try {
    Engine::load("/no/such/engine");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
    EXPECT_NE(std::string(e.what()).find("/no/such/engine"), std::string::npos);
  }
}

}  // namespace
}  // namespace tenon::test
