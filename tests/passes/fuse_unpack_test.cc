// That columns which are unpacked together are what they were apart, on the ops' plain loops.
#include "ops/interpret.h"
#include "passes/pipeline.h"
#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

constexpr const char* kSpans = R"(
graph @main(%x: f16[batch,seq,3], %mask: i64[batch,seq]) {
  %count = count_tokens(%mask) {keep_positions = [0]}
  %o, %b, %e, %g, %p, %k = pack_tokens(%mask) {keep_positions = [0], tokens = dims[tokens]}
  %flat = reshape(%x) {shape = dims[batch*seq,3]}
  %rows = gather(%flat, %g)
  %zero = constant {value = tensor i64[] 0}
  %two = constant {value = tensor i64[] 2}
  %one = constant {value = tensor i64[] -2}
  %end = gather(%rows, %two) {axis = 1}
  %start = gather(%rows, %zero) {axis = 1}
  %none = gather(%rows, %one) {axis = 1}
  %ue = unpack_tokens(%end, %g, %o, %b) {shape = dims[batch,seq]}
  %us = unpack_tokens(%start, %g, %o, %b) {shape = dims[batch,seq]}
  %un = unpack_tokens(%none, %g, %o, %b) {shape = dims[batch,seq]}
  %ye = cast(%ue) {to = f32}
  %ys = cast(%us) {to = f32}
  %yn = cast(%un) {to = f32}
  symbol tokens = %count <= batch*seq
  return "start" = %ys, "end" = %ye, "none" = %yn
}
)";

TEST(FuseUnpack, ColumnsTogetherAreWhatTheyWereApart) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 10; ++round) {
    const int64_t batch = random.integer(1, 5), seq = random.integer(1, 40);
    SCOPED_TRACE(fmt::format("{} x {}", batch, seq));
    const std::vector<Tensor> inputs{random.tensor(DType::kF16, {batch, seq, 3}),
                                     random.tensor(DType::kI64, {batch, seq}, 0, 1)};
    auto graph = ops::parse_graph(kSpans, "spans.ir");
    ASSERT_TRUE(graph.ok()) << graph.status().message();
    const auto apart = ops::interpret(**graph, inputs);
    ASSERT_TRUE(apart.ok()) << apart.status().message();
    std::vector<passes::Decision> decisions;
    ASSERT_TRUE(passes::run_pass(**graph, "fuse-unpack", decisions).ok());
    EXPECT_EQ(std::ranges::count_if((*graph)->nodes(), [](const auto& n) { return n->is(Op::k_unpack_tokens); }), 1);
    EXPECT_EQ(decisions.back().reason, "3 columns at once");
    const auto together = ops::interpret(**graph, inputs);
    ASSERT_TRUE(together.ok()) << together.status().message();
    for (size_t i = 0; i < apart->size(); ++i) EXPECT_TRUE(close((*together)[i], (*apart)[i])) << "output " << i;
  }
}

}  // namespace
}  // namespace tenon::test
