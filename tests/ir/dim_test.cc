// Symbolic integers: canonical forms, division, bounds, evaluation, text.
#include "ir/dim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/random.h"

namespace tenon::ir {
namespace {

const Dim kBatch = Dim::symbol("batch"), kSeq = Dim::symbol("seq");
constexpr int64_t kLimit = int64_t{1} << 62;

Dim parse_dim(std::string_view text) {
  const Result<Dim> d = Dim::parse(text);
  EXPECT_TRUE(d.ok()) << d.status().message();
  return d.ok() ? *d : Dim();
}

std::optional<int64_t> at(const Dim& d, int64_t batch, int64_t seq) {
  return d.evaluate([&](std::string_view name) -> std::optional<int64_t> {
    if (name == "batch") return batch;
    if (name == "seq") return seq;
    return std::nullopt;
  });
}

TEST(Dim, EqualPolynomialsAreEqual) {
  EXPECT_EQ((kSeq + 1) * 2 - kSeq, kSeq + 2);
  EXPECT_EQ(kBatch * kSeq, kSeq * kBatch);
  EXPECT_EQ((kBatch + kSeq) * (kBatch - kSeq), kBatch * kBatch - kSeq * kSeq);
  EXPECT_EQ(kSeq - kSeq, Dim(0));
  EXPECT_NE(kSeq, kBatch);
  EXPECT_NE(kSeq * kSeq, kSeq);
}

TEST(Dim, PrintsInOneOrder) {
  EXPECT_EQ((Dim(1) + kSeq * kBatch * 2 + kBatch).to_string(), "2*batch*seq + batch + 1");
  EXPECT_EQ((Dim(0) - kSeq - 3).to_string(), "-seq - 3");
  EXPECT_EQ(Dim().to_string(), "0");
  EXPECT_EQ(Dim(-7).to_string(), "-7");
  EXPECT_EQ(Dim::floordiv(kSeq + 1, 2).to_string(), "floordiv(seq + 1, 2)");
}

TEST(Dim, KnowsConstantsAndSymbols) {
  EXPECT_TRUE(Dim(5).is_const());
  EXPECT_EQ(Dim(5).value(), 5);
  EXPECT_TRUE(Dim().is_const());
  EXPECT_FALSE(kSeq.is_const());
  EXPECT_TRUE(kSeq.is_symbol());
  EXPECT_FALSE((kSeq * 2).is_symbol());
  EXPECT_FALSE((kSeq * kSeq).is_symbol());
  EXPECT_FALSE(Dim::floordiv(kSeq, 2).is_symbol());
}

TEST(Dim, ExactDivision) {
  EXPECT_EQ((kBatch * kSeq * 768).exact_div(kSeq * 64), kBatch * 12);
  EXPECT_EQ((kSeq * 4 + 8).exact_div(4), kSeq + 2);
  EXPECT_EQ((kSeq + 1).exact_div(kSeq + 1), Dim(1));
  EXPECT_EQ((kSeq * 3 + 1).exact_div(3), std::nullopt);
  EXPECT_EQ(kSeq.exact_div(kBatch), std::nullopt);
  EXPECT_EQ(kSeq.exact_div(0), std::nullopt);
}

TEST(Dim, FloordivAndModRoundDown) {
  EXPECT_EQ(Dim::floordiv(7, 2), Dim(3));
  EXPECT_EQ(Dim::floordiv(-7, 2), Dim(-4));
  EXPECT_EQ(Dim::floordiv(7, -2), Dim(-4));
  EXPECT_EQ(Dim::mod(-7, 2), Dim(1));
  EXPECT_EQ(Dim::mod(7, -2), Dim(-1));
  EXPECT_EQ(Dim::floordiv(kSeq * 6, 3), kSeq * 2);
  EXPECT_EQ(Dim::mod(kSeq * 6, 3), Dim(0));
  EXPECT_EQ(at(Dim::floordiv(kSeq + 1, 2), 1, 8), 4);
  EXPECT_EQ(at(Dim::mod(kSeq, 8), 1, 13), 5);
}

TEST(Dim, MinAndMaxSimplifyWhereTheOrderIsCertain) {
  EXPECT_EQ(Dim::min(kSeq, kSeq), kSeq);
  EXPECT_EQ(Dim::min(kSeq, kSeq + 1), kSeq);
  EXPECT_EQ(Dim::max(kSeq, 1), kSeq);
  EXPECT_EQ(Dim::max(kSeq, 0), kSeq);
  EXPECT_EQ(Dim::max(kBatch * kSeq, kSeq).to_string(), "max(batch*seq, seq)");
  EXPECT_EQ(Dim::min(Dim::min(kSeq, 512), kSeq), Dim::min(kSeq, 512));
  EXPECT_EQ(Dim::max(kSeq, Dim::min(512, kSeq)), kSeq);
  EXPECT_EQ(Dim::max(Dim::min(kSeq, 512), 0), Dim::min(kSeq, 512));
  EXPECT_EQ(at(Dim::min(kSeq, 512), 1, 600), 512);
  EXPECT_EQ(at(Dim::min(kSeq, 512), 1, 60), 60);
  EXPECT_EQ(at(Dim::max(kSeq, 512), 1, 60), 512);
}

TEST(Dim, AtLeastIsSufficientNeverWrong) {
  EXPECT_TRUE(kSeq.at_least(1));
  EXPECT_FALSE(kSeq.at_least(2));
  EXPECT_TRUE((kSeq * kBatch * 3 + 2).at_least(5));
  EXPECT_TRUE((kSeq - 1).at_least(0));
  EXPECT_FALSE((kBatch - kSeq).at_least(0));
  EXPECT_FALSE((Dim(5) - kSeq).at_least(0));
  EXPECT_TRUE(Dim::min(kSeq + 3, 4).at_least(4));
  EXPECT_TRUE(Dim::max(kBatch - kSeq, 2).at_least(2));
  EXPECT_TRUE((Dim::floordiv(kSeq + 7, 8) * 8).at_least(8));
  EXPECT_TRUE(Dim::mod(kSeq, kBatch).at_least(0));
  EXPECT_FALSE(Dim::mod(kSeq, kBatch).at_least(1));
  EXPECT_FALSE((kSeq - Dim::min(kSeq, 512)).at_least(0));
  EXPECT_TRUE((Dim(512) - Dim::min(kSeq, 512)).at_least(0));
  EXPECT_FALSE((Dim(511) - Dim::min(kSeq, 512)).at_least(0));
  EXPECT_FALSE((Dim(512) - Dim::max(kSeq, 512)).at_least(0));
  EXPECT_TRUE((Dim(7) - Dim::mod(kSeq, 8)).at_least(0));
  EXPECT_FALSE((Dim(6) - Dim::mod(kSeq, 8)).at_least(0));
  EXPECT_TRUE((Dim(14) - Dim::min(kSeq, 7) * Dim::min(kBatch, 2)).at_least(0));
}

TEST(Dim, AtLeastKnowsTheLimitsOfSymbols) {
  const std::map<std::string, int64_t> limits = {{"seq", 512}};
  EXPECT_TRUE((Dim(512) - kSeq).at_least(0, limits));
  EXPECT_FALSE((Dim(511) - kSeq).at_least(0, limits));
  EXPECT_FALSE((Dim(512) - kBatch).at_least(0, limits));
  EXPECT_TRUE((kBatch * 64 - Dim::floordiv(kSeq, 8)).at_least(0, limits));
  EXPECT_FALSE((kBatch * 63 - Dim::floordiv(kSeq, 8)).at_least(0, limits));
  EXPECT_TRUE((Dim(512) - Dim::max(kSeq, 100)).at_least(0, limits));
  EXPECT_FALSE((Dim(1024) - kSeq * kSeq).at_least(0, limits));
}

TEST(Dim, EvaluationNeedsEverySymbolAndAFiniteResult) {
  EXPECT_EQ(at(kBatch * kSeq + 1, 3, 7), 22);
  EXPECT_EQ(at(Dim::symbol("other"), 1, 1), std::nullopt);
  EXPECT_EQ(at(Dim::floordiv(kSeq, kBatch - 1), 1, 4), std::nullopt);
  EXPECT_EQ(at(Dim::mod(kSeq, kBatch - 1), 1, 4), std::nullopt);
  EXPECT_EQ(at(kSeq * kSeq * kSeq, 1, int64_t{1} << 40), std::nullopt);
  EXPECT_EQ(at(kSeq + kSeq, 1, kLimit), std::nullopt);
}

TEST(Dim, ArithmeticSaturates) {
  const Dim huge(std::numeric_limits<int64_t>::max());
  EXPECT_EQ(huge.value(), kLimit);
  EXPECT_EQ((huge * huge).value(), kLimit);
  EXPECT_EQ((huge + huge).value(), kLimit);
  EXPECT_EQ((-huge - huge).value(), -kLimit);
  EXPECT_EQ(Dim(std::numeric_limits<int64_t>::min()).value(), -kLimit);
}

// Squaring in a chain of nodes must not fill the memory.
TEST(Dim, PolynomialsBeyondAnyModelSaturate) {
  Dim sum = kBatch + kSeq + 1, power = kSeq, nested = kSeq;
  for (int i = 0; i < 60; ++i) {
    sum = sum * sum;
    power = power * power;
    nested = Dim::min(nested * 2 - kBatch, nested - 1);
  }
  EXPECT_EQ(sum, Dim(kLimit));
  EXPECT_EQ(power, Dim(kLimit));
  EXPECT_LE(nested.to_string().size(), 4096u);
}

TEST(Dim, Substitution) {
  const std::map<std::string, Dim> map{{"seq", kBatch * 2}};
  EXPECT_EQ((kSeq + kBatch).substitute(map), kBatch * 3);
  EXPECT_EQ(Dim::floordiv(kSeq, 2).substitute(map), kBatch);
  EXPECT_EQ(Dim::min(kSeq, 512).substitute({{"seq", Dim(100)}}), Dim(100));
  EXPECT_EQ(Dim::mod(kSeq, 512).substitute({{"seq", Dim(513)}}), Dim(1));
  EXPECT_EQ(at(Dim::floordiv(512, kSeq - 1).substitute({{"seq", Dim(1)}}), 1, 1), std::nullopt);
}

TEST(Dim, CollectsSymbolsInsideFunctions) {
  std::set<std::string> names;
  (Dim::floordiv(kSeq, 2) * kBatch + Dim::max(Dim::symbol("n"), 3)).collect_symbols(names);
  EXPECT_THAT(names, testing::ElementsAre("batch", "n", "seq"));
}

TEST(Dim, ParsesSpacesParenthesesAndNumbers) {
  EXPECT_EQ(parse_dim(" ( seq + 1 ) * 2 - seq "), kSeq + 2);
  EXPECT_EQ(parse_dim("-seq*3 + 4"), Dim(4) - kSeq * 3);
  EXPECT_EQ(parse_dim("max(floordiv(seq, 2), mod(batch, 3))").to_string(), "max(floordiv(seq, 2), mod(batch, 3))");
  EXPECT_EQ(parse_dim("min(3, 4)"), Dim(3));
}

TEST(Dim, RefusesWhatIsNoDimension) {
  for (const char* text : {"", "seq +", "2 seq", "(seq", "seq)", "floordiv(seq)", "floordiv(seq, 0)", "mod(seq, 1 - 1)", "pow(seq, 2)", "min(seq",
                           "*seq", "seq * * 2", "99999999999999999999", "a,b", "--1"}) {
    const Result<Dim> d = Dim::parse(text);
    EXPECT_FALSE(d.ok()) << text;
    EXPECT_EQ(d.status().code(), ErrorCode::kBadModel);
    EXPECT_THAT(d.status().message(), testing::HasSubstr("column"));
  }
}

TEST(Dim, HostileTextIsRefusedQuickly) {
  EXPECT_FALSE(Dim::parse(std::string(100000, '(')).ok());
  std::string nested;
  for (int i = 0; i < 100; ++i) nested += "floordiv(";
  EXPECT_FALSE(Dim::parse(nested).ok());
  // A product of sums has exponentially many terms.
  std::string product = "(a + b + c + d + e + f + g + h)";
  for (int i = 0; i < 40; ++i) product += "*(a + b + c + d + e + f + g + h)";
  EXPECT_FALSE(Dim::parse(product).ok());
  std::string sum = "a0";
  for (int i = 1; i < 100000; ++i) sum += " + a" + std::to_string(i);
  EXPECT_FALSE(Dim::parse(sum).ok());
}

// ---- Random expressions ----------------------------------------------------------------------------------------------

// A random expression, and the same computed with plain integers where nothing divides by zero.
struct Sample {
  Dim dim;
  std::optional<int64_t> value;
};

Sample random_sample(test::Random& random, int depth, int64_t batch, int64_t seq) {
  if (depth == 0 || random.chance(0.2)) {
    switch (random.integer(0, 2)) {
      case 0: return {kBatch, batch};
      case 1: return {kSeq, seq};
      default: {
        const int64_t c = random.integer(-4, 9);
        return {Dim(c), c};
      }
    }
  }
  const Sample a = random_sample(random, depth - 1, batch, seq), b = random_sample(random, depth - 1, batch, seq);
  const auto floor_divide = [](int64_t x, int64_t y) { return x / y - (x % y != 0 && (x < 0) != (y < 0)); };
  const bool known = a.value && b.value;
  switch (random.integer(0, 6)) {
    case 0: return {a.dim + b.dim, known ? std::optional(*a.value + *b.value) : std::nullopt};
    case 1: return {a.dim - b.dim, known ? std::optional(*a.value - *b.value) : std::nullopt};
    case 2: return {a.dim * b.dim, known ? std::optional(*a.value * *b.value) : std::nullopt};
    case 3: return {Dim::min(a.dim, b.dim), known ? std::optional(std::min(*a.value, *b.value)) : std::nullopt};
    case 4: return {Dim::max(a.dim, b.dim), known ? std::optional(std::max(*a.value, *b.value)) : std::nullopt};
    case 5:
      if (b.dim == Dim(0)) return a;
      return {Dim::floordiv(a.dim, b.dim), known && *b.value != 0 ? std::optional(floor_divide(*a.value, *b.value)) : std::nullopt};
    default:
      if (b.dim == Dim(0)) return a;
      return {Dim::mod(a.dim, b.dim), known && *b.value != 0 ? std::optional(*a.value - *b.value * floor_divide(*a.value, *b.value)) : std::nullopt};
  }
}

TEST(Dim, RandomExpressionsEvaluatePrintAndParse) {
  test::Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 500; ++round) {
    const int64_t batch = random.integer(1, 20), seq = random.integer(1, 20);
    const Sample s = random_sample(random, 3, batch, seq);
    const std::string text = s.dim.to_string();
    const Dim constant = s.dim.substitute({{"batch", Dim(batch)}, {"seq", Dim(seq)}});
    if (s.value) {
      EXPECT_EQ(at(s.dim, batch, seq), s.value) << text;
      EXPECT_EQ(constant, Dim(*s.value)) << text;
    }
    for (int64_t bound = -20; bound <= 20; ++bound) {
      EXPECT_TRUE(!s.value || !s.dim.at_least(bound) || *s.value >= bound) << text << " >= " << bound;
    }
    const Result<Dim> back = Dim::parse(text);
    ASSERT_TRUE(back.ok()) << back.status().message();
    EXPECT_EQ(back->to_string(), text);
  }
}

TEST(Shape, NumelAndText) {
  const Shape shape{kBatch, kSeq, 768};
  EXPECT_EQ(numel(shape).to_string(), "768*batch*seq");
  EXPECT_EQ(to_string(shape), "[batch,seq,768]");
  EXPECT_FALSE(all_const(shape));
  EXPECT_EQ(const_values(to_shape({2, 3})), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(numel({}), Dim(1));
}

}  // namespace
}  // namespace tenon::ir
