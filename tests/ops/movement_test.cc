// References of the ops that move elements, against index formulas written here, over random shapes and element types.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/ops/index.h"
#include "tests/ops/run_op.h"

namespace tenon::ops {
namespace {

using namespace test;  // NOLINT
using ir::Op;

const std::vector<DType> kTypes = {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8, DType::kU16, DType::kI32, DType::kI64, DType::kBool};

class Movement : public testing::Test {
 protected:
  Random random_;
  testing::ScopedTrace trace_{__FILE__, __LINE__, random_.trace()};

  std::vector<int64_t> shape(int64_t min_rank, int64_t max_rank, int64_t low = 0) {
    std::vector<int64_t> s(static_cast<size_t>(random_.integer(min_rank, max_rank)));
    for (int64_t& d : s) d = random_.chance(0.1) ? low : random_.integer(1, 5);
    return s;
  }
  Tensor tensor(const std::vector<int64_t>& s) { return random_.tensor(random_.pick(kTypes), s); }
  // Runs the op; its first output must have element(index) at each index.
  template <class F>
  void expect(Op op, const std::vector<Given>& inputs, Attrs attrs, const std::vector<int64_t>& expected_shape, F element) {
    const auto out = run_op(op, inputs, std::move(attrs));
    ASSERT_TRUE(out.ok()) << out.status().message();
    EXPECT_TRUE(close((*out)[0], tensor_of((*out)[0].dtype(), expected_shape, element)));
  }
  static std::string failure(const Result<std::vector<Tensor>>& result) {
    EXPECT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), ErrorCode::kBadInput);
    return result.status().message();
  }
};

constexpr int kRounds = 30;

TEST_F(Movement, ConstantDimsAndIota) {
  const Tensor value = random_.tensor(DType::kF16, {2, 3});
  EXPECT_TRUE(close((*run_op(Op::k_constant, {}, {{"value", value}}))[0], value));
  EXPECT_TRUE(close((*run_op(Op::k_dims, {}, {{"values", Shape{3, -1}}}))[0], i64({2}, {3, -1})));
  EXPECT_TRUE(close((*run_op(Op::k_dims, {}, {{"values", Shape{7}}, {"scalar", int64_t{1}}}))[0], i64({}, {7})));
  EXPECT_TRUE(close((*run_op(Op::k_iota, {}, {{"start", Shape{5}}, {"step", int64_t{-2}}, {"size", Shape{4}}}))[0], i64({4}, {5, 3, 1, -1})));
  EXPECT_TRUE(close((*run_op(Op::k_iota, {}, {{"size", Shape{3}}, {"dtype", DType::kF32}}))[0], f32({3}, {0, 1, 2})));
  EXPECT_EQ((*run_op(Op::k_iota, {}, {{"size", Shape{0}}}))[0].numel(), 0);
}

TEST_F(Movement, SymbolsTakeTheirValuesAtRunTime) {
  Graph graph;
  const Dim seq = Dim::symbol("seq");
  Node* dims = *create(graph, Op::k_dims, {}, {{"values", Shape{seq * 2, seq - 1}}});
  EXPECT_TRUE(close((*run_reference(*dims, {}, {{"seq", 5}}))[0], i64({2}, {10, 4})));
  Node* iota = *create(graph, Op::k_iota, {}, {{"start", Shape{seq}}, {"size", Shape{seq - 3}}});
  EXPECT_TRUE(close((*run_reference(*iota, {}, {{"seq", 5}}))[0], i64({2}, {5, 6})));
}

TEST_F(Movement, Reshape) {
  const Tensor x = random_.tensor(DType::kI32, {3, 4}, -100, 100);
  expect(Op::k_copy, {x}, {}, {3, 4}, [&](const Index& at) { return x.at(at[0] * 4 + at[1]); });
  expect(Op::k_reshape, {x}, {{"shape", Shape{2, 1, 6}}}, {2, 1, 6}, [&](const Index& at) { return x.at(at[0] * 6 + at[2]); });
}

TEST_F(Movement, Transpose) {
  for (int round = 0; round < kRounds; ++round) {
    const Tensor x = tensor(shape(0, 5));
    std::vector<int64_t> perm(x.shape().size()), out;
    std::iota(perm.begin(), perm.end(), 0);
    std::ranges::shuffle(perm, random_.engine());
    for (int64_t p : perm) out.push_back(x.shape()[static_cast<size_t>(p)]);
    expect(Op::k_transpose, {x}, {{"perm", perm}}, out, [&](const Index& at) {
      Index from(at.size());
      for (size_t i = 0; i < at.size(); ++i) from[static_cast<size_t>(perm[i])] = at[i];
      return x.at(flat(from, x.shape()));
    });
  }
}

TEST_F(Movement, Expand) {
  for (int round = 0; round < kRounds; ++round) {
    std::vector<int64_t> to = shape(0, 5);
    std::vector<int64_t> from(to.begin() + static_cast<std::ptrdiff_t>(random_.integer(0, std::ssize(to))), to.end());
    for (int64_t& d : from) d = random_.chance(0.5) ? 1 : d;
    const Tensor x = tensor(from);
    expect(Op::k_expand, {x}, {{"shape", ir::to_shape(to)}}, to, [&](const Index& at) { return broadcast_at(x, at); });
  }
}

TEST_F(Movement, SliceForwardsAndBackwards) {
  for (int round = 0; round < kRounds; ++round) {
    const Tensor x = tensor(shape(1, 4));
    std::vector<int64_t> axes, steps, out = x.shape(), starts, ends, step_of(out.size(), 1), start_of(out.size(), 0);
    for (size_t axis = 0; axis < out.size(); ++axis) {
      const int64_t n = out[axis];
      if (n == 0 || random_.chance(0.4)) continue;
      int64_t step = random_.integer(1, 3), start = random_.integer(0, n - 1), end = random_.integer(0, n);
      out[axis] = std::max<int64_t>(0, (end - start + step - 1) / step);
      if (end < start) out[axis] = 0;
      if (random_.chance(0.5)) {  // walk downwards to -1
        step = -step;
        end = -1;
        out[axis] = (start + 1 - step - 1) / -step;
      }
      axes.push_back(static_cast<int64_t>(axis));
      steps.push_back(step);
      starts.push_back(start);
      ends.push_back(end);
      step_of[axis] = step;
      start_of[axis] = start;
    }
    const Attrs attrs{{"axes", axes}, {"starts", ir::to_shape(starts)}, {"ends", ir::to_shape(ends)}, {"steps", steps}};
    expect(Op::k_slice, {x}, attrs, out, [&](const Index& at) {
      Index from(at.size());
      for (size_t i = 0; i < at.size(); ++i) from[i] = start_of[i] + at[i] * step_of[i];
      return x.at(flat(from, x.shape()));
    });
  }
}

TEST_F(Movement, Concat) {
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<int64_t> base = shape(1, 4);
    const DType dtype = random_.pick(kTypes);
    const auto axis = static_cast<size_t>(random_.integer(0, std::ssize(base) - 1));
    std::vector<Given> parts;
    std::vector<int64_t> out = base;
    out[axis] = 0;
    for (int64_t k = random_.integer(1, 4); k > 0; --k) {
      std::vector<int64_t> s = base;
      s[axis] = random_.integer(0, 3);
      out[axis] += s[axis];
      parts.push_back(random_.tensor(dtype, s));
    }
    expect(Op::k_concat, parts, {{"axis", static_cast<int64_t>(axis) - (random_.chance(0.5) ? std::ssize(base) : 0)}}, out, [&](Index at) {
      size_t part = 0;
      while (at[axis] >= parts[part]->shape()[axis]) at[axis] -= parts[part++]->shape()[axis];
      return parts[part]->at(flat(at, parts[part]->shape()));
    });
  }
}

TEST_F(Movement, Tile) {
  for (int round = 0; round < kRounds; ++round) {
    const Tensor x = tensor(shape(0, 4));
    std::vector<int64_t> repeats, out;
    for (int64_t d : x.shape()) out.push_back(d * repeats.emplace_back(random_.integer(0, 3)));
    expect(Op::k_tile, {x}, {{"repeats", ir::to_shape(repeats)}}, out, [&](Index at) {
      for (size_t i = 0; i < at.size(); ++i) at[i] %= x.shape()[i];
      return x.at(flat(at, x.shape()));
    });
  }
}

TEST_F(Movement, PadWithAConstantAndCrop) {
  const Tensor x = random_.tensor(DType::kI32, {2, 3}, -9, 9);
  const Attrs attrs{{"before", Shape{1, -1}}, {"after", Shape{0, 2}}, {"value", 7.0}};
  expect(Op::k_pad, {x}, attrs, {3, 4}, [&](const Index& at) {
    const bool inside = at[0] >= 1 && at[1] + 1 < 3;
    return inside ? x.at((at[0] - 1) * 3 + at[1] + 1) : 7.0;
  });
}

TEST_F(Movement, PadByReflectionAndEdge) {
  const Tensor x = f32({4}, {1, 2, 3, 4});
  const auto pad = [&](const char* mode) { return (*run_op(Op::k_pad, {x}, {{"before", Shape{3}}, {"after", Shape{2}}, {"mode", std::string(mode)}}))[0]; };
  EXPECT_TRUE(close(pad("reflect"), f32({9}, {4, 3, 2, 1, 2, 3, 4, 3, 2})));
  EXPECT_TRUE(close(pad("edge"), f32({9}, {1, 1, 1, 1, 2, 3, 4, 4, 4})));
  EXPECT_THAT(failure(run_op(Op::k_pad, {f32({0}, {})}, {{"before", Shape{1}}, {"after", Shape{0}}, {"mode", std::string("edge")}})),
              testing::HasSubstr("nothing to repeat"));
}

TEST_F(Movement, Gather) {
  for (int round = 0; round < kRounds; ++round) {
    const Tensor x = tensor(shape(1, 4, 1));
    const int64_t rank = std::ssize(x.shape());
    const auto axis = static_cast<size_t>(random_.integer(0, rank - 1));
    const int64_t n = x.shape()[axis];
    const Tensor index = random_.tensor(random_.chance(0.5) ? DType::kI64 : DType::kI32, shape(0, 3), static_cast<double>(-n), static_cast<double>(n - 1));
    std::vector<int64_t> out(x.shape().begin(), x.shape().begin() + static_cast<std::ptrdiff_t>(axis));
    out.insert(out.end(), index.shape().begin(), index.shape().end());
    out.insert(out.end(), x.shape().begin() + static_cast<std::ptrdiff_t>(axis) + 1, x.shape().end());
    expect(Op::k_gather, {x, index}, {{"axis", static_cast<int64_t>(axis)}}, out, [&](const Index& at) {
      const auto begin = at.begin() + static_cast<std::ptrdiff_t>(axis), end = begin + std::ssize(index.shape());
      Index from(at.begin(), begin);
      const int64_t i = index.int_at(flat(Index(begin, end), index.shape()));
      from.push_back(i < 0 ? i + n : i);
      from.insert(from.end(), end, at.end());
      return x.at(flat(from, x.shape()));
    });
  }
}

TEST_F(Movement, GatherElements) {
  for (int round = 0; round < kRounds; ++round) {
    const Tensor x = tensor(shape(1, 4, 1));
    const auto axis = static_cast<size_t>(random_.integer(0, std::ssize(x.shape()) - 1));
    const int64_t n = x.shape()[axis];
    std::vector<int64_t> s = x.shape();
    for (int64_t& d : s) d = random_.integer(0, d);
    s[axis] = random_.integer(0, 6);
    const Tensor index = random_.tensor(DType::kI64, s, static_cast<double>(-n), static_cast<double>(n - 1));
    expect(Op::k_gather_elements, {x, index}, {{"axis", static_cast<int64_t>(axis)}}, s, [&](const Index& at) {
      Index from = at;
      const int64_t i = index.int_at(flat(at, s));
      from[axis] = i < 0 ? i + n : i;
      return x.at(flat(from, x.shape()));
    });
  }
}

TEST_F(Movement, GatherNd) {
  const Tensor x = f32({2, 2, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  EXPECT_TRUE(close((*run_op(Op::k_gather_nd, {x, i64({2, 2}, {0, 1, 1, -2})}))[0], f32({2, 3}, {3, 4, 5, 6, 7, 8})));
  EXPECT_TRUE(close((*run_op(Op::k_gather_nd, {x, i64({1, 3}, {1, 1, 2})}))[0], f32({1}, {11})));
  EXPECT_TRUE(close((*run_op(Op::k_gather_nd, {x, i64({2, 1}, {1, 0})}, {{"batch_dims", int64_t{1}}}))[0], f32({2, 3}, {3, 4, 5, 6, 7, 8})));
}

TEST_F(Movement, ScatterNdLaterTuplesWin) {
  const Tensor x = f32({3, 2}, {0, 1, 2, 3, 4, 5});
  const auto rows = run_op(Op::k_scatter_nd, {x, i64({3, 1}, {2, 0, -1}), f32({3, 2}, {10, 11, 12, 13, 14, 15})});
  EXPECT_TRUE(close((*rows)[0], f32({3, 2}, {12, 13, 2, 3, 14, 15})));
  const auto elements = run_op(Op::k_scatter_nd, {x, i64({1, 2}, {1, 0}), f32({1}, {9})});
  EXPECT_TRUE(close((*elements)[0], f32({3, 2}, {0, 1, 9, 3, 4, 5})));
}

TEST_F(Movement, Trilu) {
  for (int round = 0; round < kRounds; ++round) {
    const Tensor x = tensor(shape(2, 4));
    const bool upper = random_.chance(0.5);
    const int64_t k = random_.integer(-3, 3);
    expect(Op::k_trilu, {x}, {{"upper", int64_t{upper}}, {"k", k}}, x.shape(), [&](const Index& at) {
      const int64_t i = at[at.size() - 2], j = at.back();
      return (upper ? j >= i + k : j <= i + k) ? x.at(flat(at, x.shape())) : 0.0;
    });
  }
}

TEST_F(Movement, Cumsum) {
  for (int round = 0; round < kRounds; ++round) {
    const Tensor x = random_.tensor(DType::kI32, shape(1, 4), -50, 50);
    const auto axis = static_cast<size_t>(random_.integer(0, std::ssize(x.shape()) - 1));
    const bool exclusive = random_.chance(0.5), reverse = random_.chance(0.5);
    const Attrs attrs{{"axis", static_cast<int64_t>(axis)}, {"exclusive", int64_t{exclusive}}, {"reverse", int64_t{reverse}}};
    expect(Op::k_cumsum, {x}, attrs, x.shape(), [&](const Index& at) {
      double sum = 0;
      Index from = at;
      for (from[axis] = 0; from[axis] < x.shape()[axis]; ++from[axis]) {
        const bool before = reverse ? from[axis] > at[axis] : from[axis] < at[axis];
        if (before || (!exclusive && from[axis] == at[axis])) sum += x.at(flat(from, x.shape()));
      }
      return sum;
    });
  }
}

TEST_F(Movement, Where) {
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<int64_t> to = shape(0, 4);
    const auto part = [&] {
      std::vector<int64_t> s(to.begin() + static_cast<std::ptrdiff_t>(random_.integer(0, std::ssize(to))), to.end());
      for (int64_t& d : s) d = random_.chance(0.3) ? 1 : d;
      return s;
    };
    const DType dtype = random_.pick(kTypes);
    const Tensor cond = random_.tensor(DType::kBool, part()), a = random_.tensor(dtype, to), b = random_.tensor(dtype, part());
    expect(Op::k_where, {cond, a, b}, {}, to, [&](const Index& at) { return broadcast_at(broadcast_at(cond, at) != 0 ? a : b, at); });
  }
}

TEST_F(Movement, AnyNonzeroByteIsTrue) {
  const Tensor cond = bools({3}, {2, 0, 255});
  EXPECT_TRUE(close((*run_op(Op::k_where, {cond, f32({}, {1}), f32({}, {0})}))[0], f32({3}, {1, 0, 1})));
  EXPECT_TRUE(close((*run_op(Op::k_cast, {cond}, {{"to", DType::kI32}}))[0], values(DType::kI32, {3}, {1, 0, 1})));
  EXPECT_TRUE(close((*run_op(Op::k_not, {cond}))[0], bools({3}, {0, 1, 0})));
  EXPECT_TRUE(close((*run_op(Op::k_equal, {cond, bools({}, {1})}))[0], bools({3}, {1, 0, 1})));
  EXPECT_TRUE(close((*run_op(Op::k_xor, {cond, bools({}, {1})}))[0], bools({3}, {0, 1, 0})));
}

TEST_F(Movement, Casts) {
  const Tensor x = f32({6}, {1.9, -1.9, 300, -300, 1e20, std::nan("")});
  EXPECT_TRUE(close((*run_op(Op::k_cast, {x}, {{"to", DType::kI32}}))[0], values(DType::kI32, {6}, {1, -1, 300, -300, 2147483647, 0})));
  EXPECT_TRUE(close((*run_op(Op::k_cast, {x}, {{"to", DType::kI8}}))[0], values(DType::kI8, {6}, {1, -1, 127, -128, 127, 0})));
  EXPECT_TRUE(close((*run_op(Op::k_cast, {x}, {{"to", DType::kBool}}))[0], bools({6}, {1, 1, 1, 1, 1, 1})));
  EXPECT_TRUE(close((*run_op(Op::k_cast, {i64({3}, {INT64_MAX, -1, 65536 + 5})}, {{"to", DType::kU16}}))[0], values(DType::kU16, {3}, {65535, 65535, 5})));
  const Tensor halves = f32({4}, {1.0009765625, 65504, 65520, 6e-8});
  EXPECT_TRUE(close((*run_op(Op::k_cast, {halves}, {{"to", DType::kF16}}))[0], values(DType::kF16, {4}, {1.0009765625, 65504, INFINITY, 5.960464477539063e-08})));
}

TEST_F(Movement, IndicesOutOfRangeAreNamedByPositionAndValue) {
  const Tensor x = random_.tensor(DType::kF32, {5, 2});
  EXPECT_THAT(failure(run_op(Op::k_gather, {x, i64({2, 2}, {0, 1, 5, 2})})), testing::HasSubstr("index 5 at position [1,0] is out of range for an axis of size 5"));
  EXPECT_THAT(failure(run_op(Op::k_gather, {x, i64({1}, {-6})})), testing::HasSubstr("index -6 at position [0]"));
  EXPECT_THAT(failure(run_op(Op::k_gather_elements, {x, i64({1, 2}, {0, 7})})), testing::HasSubstr("index 7 at position [0,1]"));
  EXPECT_THAT(failure(run_op(Op::k_gather_nd, {x, i64({2, 2}, {4, 1, 1, 2})})), testing::HasSubstr("index 2 of tuple 1"));
  EXPECT_THAT(failure(run_op(Op::k_scatter_nd, {x, i64({1, 1}, {9}), f32({1, 2}, {0, 0})})), testing::HasSubstr("index 9 of tuple 0"));
}

// Sizes that inference could not compare are checked when they are known.
TEST_F(Movement, ShapesThatDisagreeAtRunTimeAreRefused) {
  Graph graph;
  const Dim n = Dim::symbol("n"), m = Dim::symbol("m");
  Value* x = graph.add_input("x", {DType::kF32, {n}});
  Node* reshape = *create(graph, Op::k_reshape, {x}, {{"shape", Shape{m, 2}}});
  const std::vector<Tensor> input = {random_.tensor(DType::kF32, {5})};
  EXPECT_THAT(failure(run_reference(*reshape, input, {{"n", 5}, {"m", 3}})), testing::HasSubstr("5 elements do not fit f32[m,2]"));
  Node* expand = *create(graph, Op::k_expand, {x}, {{"shape", Shape{m}}});
  EXPECT_THAT(failure(run_reference(*expand, input, {{"n", 5}, {"m", 3}})), testing::HasSubstr("does not broadcast to [3]"));
  Node* slice = *create(graph, Op::k_slice, {x}, {{"axes", std::vector<int64_t>{0}}, {"starts", Shape{0}}, {"ends", Shape{m}}, {"steps", std::vector<int64_t>{1}}});
  EXPECT_THAT(failure(run_reference(*slice, input, {{"n", 5}, {"m", 6}})), testing::HasSubstr("slice from 0 to 6 leaves axis 0 of size 5"));
}

}  // namespace
}  // namespace tenon::ops
