#include "runtime/dim_program.h"

#include <gtest/gtest.h>

namespace tenon::test {
namespace {

using runtime::DimProgram;

int index_of(std::string_view name) { return name == "batch" ? 0 : (name == "seq" ? 1 : -1); }

TEST(DimProgram, EvaluatesAsDimsDo) {
  for (const char* text : {"0", "7", "batch", "batch*seq", "2*batch*seq - seq + 3", "floordiv(seq, 2)*batch", "mod(seq - 9, batch)",
                           "min(seq, batch) + max(seq, 5)", "floordiv(3 - seq, batch + 1)"}) {
    const ir::Dim dim = *ir::Dim::parse(text);
    const auto program = DimProgram::compile(dim, index_of);
    ASSERT_TRUE(program.ok()) << text;
    for (int64_t batch : {1, 2, 7}) {
      for (int64_t seq : {0, 1, 8, 31}) {
        const int64_t symbols[] = {batch, seq};
        const auto expected = dim.evaluate([&](std::string_view name) { return std::optional(symbols[index_of(name)]); });
        EXPECT_EQ(program->evaluate(symbols), expected) << text << " at " << batch << ", " << seq;
      }
    }
  }
}

TEST(DimProgram, OverflowAndDivisionByZeroGiveNothing) {
  const int64_t huge[] = {int64_t{1} << 40, int64_t{1} << 40}, zero[] = {0, 5};
  EXPECT_FALSE((*DimProgram::compile(*ir::Dim::parse("batch*seq"), index_of)).evaluate(huge));
  EXPECT_FALSE((*DimProgram::compile(*ir::Dim::parse("floordiv(seq, batch)"), index_of)).evaluate(zero));
  EXPECT_FALSE((*DimProgram::compile(*ir::Dim::parse("mod(seq, batch)"), index_of)).evaluate(zero));
}

TEST(DimProgram, UnknownSymbolsAreRefused) { EXPECT_FALSE(DimProgram::compile(ir::Dim::symbol("tokens"), index_of).ok()); }

}  // namespace
}  // namespace tenon::test
