// Convolutions and pooling against their definitions, written out index by index.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/index.h"
#include "tests/ops/run_op.h"

namespace tenon::ops {
namespace {

using namespace test;  // NOLINT
using ir::Op;

struct Geometry {
  std::vector<int64_t> in, kernel, strides, dilations, pads;  // pads: begins, ends

  // Windows of at least one element along each axis.
  static Geometry any(Random& random) {
    Geometry g;
    const auto axes = static_cast<size_t>(random.integer(1, 3));
    std::vector<int64_t> ends;
    for (size_t i = 0; i < axes; ++i) {
      g.kernel.push_back(random.integer(1, 4));
      g.strides.push_back(random.integer(1, 3));
      g.dilations.push_back(random.integer(1, 2));
      g.pads.push_back(random.integer(0, g.kernel.back() - 1));
      ends.push_back(random.integer(0, g.kernel.back() - 1));
      const int64_t reach = (g.kernel.back() - 1) * g.dilations.back() + 1;
      g.in.push_back(std::max<int64_t>(1, reach - g.pads.back() - ends.back() + random.integer(0, 7)));
    }
    g.pads.insert(g.pads.end(), ends.begin(), ends.end());
    return g;
  }

  int64_t out(size_t axis) const {
    return (in[axis] + pads[axis] + pads[axis + in.size()] - (kernel[axis] - 1) * dilations[axis] - 1) / strides[axis] +
           1;
  }
  ir::Attrs attrs() const { return {{"strides", strides}, {"dilations", dilations}, {"pads", ir::to_shape(pads)}}; }
};

std::vector<int64_t> joined(std::vector<int64_t> a, const std::vector<int64_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Calls body for every index of a shape.
template <class Body>
void for_each_index(const std::vector<int64_t>& shape, Body&& body) {
  std::vector<int64_t> at(shape.size(), 0);
  for (const int64_t d : shape)
    if (d == 0) return;
  while (true) {
    body(at);
    size_t axis = shape.size();
    while (axis > 0 && ++at[axis - 1] == shape[axis - 1]) at[--axis] = 0;
    if (axis == 0) return;
  }
}

TEST(Conv, AsDefinedForAnyGeometryGroupsAndType) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 60; ++round) {
    const Geometry g = Geometry::any(random);
    const int64_t group = random.integer(1, 3), own = random.integer(1, 3), filters = group * random.integer(1, 3),
                  batch = random.integer(1, 2);
    const DType dtype =
        random.pick(std::vector<DType>{DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI32});
    const Tensor x = random.tensor(dtype, joined({batch, group * own}, g.in)),
                 w = random.tensor(dtype, joined({filters, own}, g.kernel));
    const Tensor bias = random.tensor(dtype, {filters});
    const bool with_bias = random.chance(0.5);
    ir::Attrs attrs = g.attrs();
    attrs.set("group", group);
    const auto y = run_op(Op::k_conv, {x, w, with_bias ? Given(bias) : Given()}, attrs);
    ASSERT_TRUE(y.ok()) << y.status().message();
    std::vector<int64_t> shape{batch, filters};
    for (size_t i = 0; i < g.in.size(); ++i) shape.push_back(g.out(i));
    const Tensor want = tensor_of(dtype, shape, [&](const Index& at) {
      double sum = with_bias ? bias.at(at[1]) : 0;
      for_each_index(joined({own}, g.kernel), [&](const std::vector<int64_t>& k) {
        std::vector<int64_t> from{at[0], at[1] / (filters / group) * own + k[0]}, tap{at[1], k[0]};
        for (size_t i = 0; i < g.in.size(); ++i) {
          from.push_back(at[2 + i] * g.strides[i] + k[1 + i] * g.dilations[i] - g.pads[i]);
          tap.push_back(k[1 + i]);
          if (from.back() < 0 || from.back() >= g.in[i]) return;
        }
        sum += x.at(flat(from, x.shape())) * w.at(flat(tap, w.shape()));
      });
      return sum;
    });
    EXPECT_TRUE(close((*y)[0], want, tolerance(dtype) * 16)) << "round " << round;
  }
}

// Element `at` of a tensor [N, C, spatial…] with its channels last.
Tensor with_channels_last(const Tensor& x) {
  std::vector<int64_t> shape = x.shape();
  std::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
  return tensor_of(x.dtype(), shape, [&](Index at) {
    std::rotate(at.begin() + 1, at.end() - 1, at.end());
    return x.at(flat(at, x.shape()));
  });
}

TEST(Conv, ChannelsLastIsTheSameElsewhere) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 30; ++round) {
    const Geometry g = Geometry::any(random);
    const int64_t group = random.integer(1, 3), own = random.integer(1, 3), filters = group * random.integer(1, 3);
    const DType dtype = random.pick(std::vector<DType>{DType::kF32, DType::kBF16, DType::kI32});
    const Tensor x = random.tensor(dtype, joined({2, group * own}, g.in)),
                 w = random.tensor(dtype, joined({filters, own}, g.kernel));
    ir::Attrs attrs = g.attrs();
    attrs.set("group", group);
    const Tensor first = output_of(run_op(Op::k_conv, {x, w}, attrs));
    const Tensor residual = random.tensor(dtype, first.shape());
    const bool with_residual = random.chance(0.5);
    const auto given = [&](const Tensor& r) { return with_residual ? Given(r) : Given(); };
    const Tensor want = output_of(run_op(Op::k_conv, {x, w, Given(), given(residual)}, attrs));
    attrs.set("channels_last", int64_t{1});
    const Tensor y =
        output_of(run_op(Op::k_conv, {with_channels_last(x), w, Given(), given(with_channels_last(residual))}, attrs));
    EXPECT_TRUE(y.same_bytes(with_channels_last(want))) << "round " << round;
  }
}

TEST(Conv, ActivatesBeforeOrAfterTheResidual) {
  Random random;
  SCOPED_TRACE(random.trace());
  const std::vector<std::pair<std::string, double (*)(double)>> activations{
      {"", [](double v) { return v; }},
      {"relu", [](double v) { return std::max(v, 0.0); }},
      {"relu6", [](double v) { return std::min(std::max(v, 0.0), 6.0); }},
      {"hard_sigmoid", [](double v) { return std::min(std::max(v / 6 + 0.5, 0.0), 1.0); }},
      {"hard_swish", [](double v) { return v * std::min(std::max(v / 6 + 0.5, 0.0), 1.0); }},
      {"silu", [](double v) { return v / (1 + std::exp(-v)); }}};
  for (const auto& [name, function] : activations) {
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      const Tensor x = random.tensor(dtype, {2, 3, 5, 7}, -4, 4), w = random.tensor(dtype, {4, 3, 1, 1}, -1, 1),
                   residual = random.tensor(dtype, {2, 4, 5, 7}, -4, 4), bias = random.tensor(dtype, {4});
      for (const bool of_sum : {false, true}) {
        const ir::Attrs attrs{{"activation", name}, {"activate_sum", int64_t{of_sum}}};
        const Tensor y = output_of(run_op(Op::k_conv, {x, w, bias, residual}, attrs));
        const Tensor want = tensor_of(dtype, y.shape(), [&](const Index& at) {
          double sum = bias.at(at[1]);
          for (int64_t c = 0; c < 3; ++c) sum += w.at(at[1] * 3 + c) * x.at(flat({at[0], c, at[2], at[3]}, x.shape()));
          const double more = residual.at(flat(at, y.shape()));
          return of_sum ? function(sum + more) : function(sum) + more;
        });
        EXPECT_TRUE(close(y, want, tolerance(dtype) * 16)) << name << (of_sum ? " of the sum" : "");
      }
    }
  }
}

// <conv(x, w), y> = <x, conv_transpose(y, w)>: each is the other's transpose.
TEST(ConvTranspose, IsTheAdjointOfConv) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 60; ++round) {
    const Geometry g = Geometry::any(random);
    const int64_t group = random.integer(1, 3), own = random.integer(1, 3), filters = group * random.integer(1, 3),
                  batch = random.integer(1, 2);
    const Tensor x = random.tensor(DType::kF64, joined({batch, group * own}, g.in)),
                 w = random.tensor(DType::kF64, joined({filters, own}, g.kernel));
    ir::Attrs attrs = g.attrs();
    attrs.set("group", group);
    const auto forward = run_op(Op::k_conv, {x, w}, attrs);
    ASSERT_TRUE(forward.ok()) << forward.status().message();
    const Tensor y = random.tensor(DType::kF64, (*forward)[0].shape());
    attrs.set("sizes", ir::to_shape(g.in));
    const auto back = run_op(Op::k_conv_transpose, {y, w}, attrs);
    ASSERT_TRUE(back.ok()) << back.status().message();
    ASSERT_EQ((*back)[0].shape(), x.shape());
    double left = 0, right = 0;
    for (int64_t i = 0; i < y.numel(); ++i) left += (*forward)[0].at(i) * y.at(i);
    for (int64_t i = 0; i < x.numel(); ++i) right += x.at(i) * (*back)[0].at(i);
    EXPECT_NEAR(left, right, 1e-9 * (1 + std::abs(left))) << "round " << round;
  }
}

TEST(DeformConv, WithoutOffsetsIsConvAndWholeOffsetsMoveTheImage) {
  Random random;
  SCOPED_TRACE(random.trace());
  const int64_t height = 7, width = 5, row = random.integer(-2, 2), column = random.integer(-2, 2);
  const Tensor x = random.tensor(DType::kF32, {2, 4, height, width}), w = random.tensor(DType::kF32, {6, 2, 3, 2}),
               bias = random.tensor(DType::kF32, {6});
  const ir::Attrs attrs{{"pads", ir::to_shape({1, 0, 1, 1})}, {"group", int64_t{2}}};
  ir::Attrs deformed = attrs;
  deformed.set("offset_group", int64_t{2});
  const Tensor moved = tensor_of(DType::kF32, x.shape(), [&](const Index& at) {
    const int64_t i = at[2] + row, j = at[3] + column;
    return i < 0 || i >= height || j < 0 || j >= width ? 0 : x.at(flat({at[0], at[1], i, j}, x.shape()));
  });
  // What conv pads with zeros, a moved image has pixels for: only inner outputs are the same.
  const Tensor offset =
      tensor_of(DType::kF32, {2, 2 * 2 * 6, 7, 5}, [&](const Index& at) { return at[1] % 2 == 0 ? row : column; });
  const Tensor still = tensor_of(DType::kF32, offset.shape(), [](const Index&) { return 0; });
  const auto plain = run_op(Op::k_conv, {x, w, bias}, attrs),
             same = run_op(Op::k_deform_conv, {x, w, still, bias}, deformed);
  ASSERT_TRUE(plain.ok() && same.ok()) << plain.status().message() << same.status().message();
  EXPECT_TRUE(close((*same)[0], (*plain)[0], tolerance(DType::kF32) * 8));
  const auto shifted = run_op(Op::k_deform_conv, {x, w, offset, bias}, deformed),
             wanted = run_op(Op::k_conv, {moved, w, bias}, attrs);
  ASSERT_TRUE(shifted.ok() && wanted.ok()) << shifted.status().message();
  for_each_index((*wanted)[0].shape(), [&](const std::vector<int64_t>& at) {
    if (at[2] < 1 || at[2] + 1 >= 7 || at[3] + 1 >= 5) return;
    const int64_t i = flat(at, (*wanted)[0].shape());
    EXPECT_NEAR((*shifted)[0].at(i), (*wanted)[0].at(i), 1e-4);
  });
}

TEST(Pool, AsDefinedForAnyGeometry) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 60; ++round) {
    const Geometry g = Geometry::any(random);
    const Op op = random.pick(std::vector<Op>{Op::k_max_pool, Op::k_average_pool, Op::k_lp_pool});
    const DType dtype = random.pick(kFloatTypes);
    const bool count_padding = random.chance(0.5);
    const Tensor x = random.tensor(dtype, joined({2, 3}, g.in));
    ir::Attrs attrs = g.attrs();
    attrs.set("kernel_shape", g.kernel);
    if (op == Op::k_average_pool) attrs.set("count_include_pad", int64_t{count_padding});
    if (op == Op::k_lp_pool) attrs.set("p", 3.0);
    const auto y = run_op(op, {x}, attrs);
    ASSERT_TRUE(y.ok()) << y.status().message();
    std::vector<int64_t> shape{2, 3};
    for (size_t i = 0; i < g.in.size(); ++i) shape.push_back(g.out(i));
    const Tensor want = tensor_of(dtype, shape, [&](const Index& at) {
      double sum = 0, greatest = -kInf;
      int64_t count = 0, all = 0;
      for_each_index(g.kernel, [&](const std::vector<int64_t>& k) {
        std::vector<int64_t> from{at[0], at[1]};
        bool inside = true;
        for (size_t i = 0; i < g.in.size(); ++i) {
          from.push_back(at[2 + i] * g.strides[i] + k[i] * g.dilations[i] - g.pads[i]);
          inside = inside && from.back() >= 0 && from.back() < g.in[i];
        }
        ++all;
        if (!inside) return;
        const double v = x.at(flat(from, x.shape()));
        greatest = std::max(greatest, v);
        sum += op == Op::k_lp_pool ? std::pow(std::abs(v), 3) : v;
        ++count;
      });
      if (op == Op::k_max_pool) return greatest;
      if (op == Op::k_lp_pool) return std::pow(sum, 1.0 / 3);
      return count == 0 && !count_padding ? 0 : sum / static_cast<double>(count_padding ? all : count);
    });
    EXPECT_TRUE(close((*y)[0], want, tolerance(dtype) * 8)) << "round " << round << " " << ir::op_name(op);
  }
}

TEST(Pool, ChannelsLastIsTheSameElsewhere) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 30; ++round) {
    const Geometry g = Geometry::any(random);
    const Tensor x = random.tensor(DType::kF32, joined({2, 3}, g.in));
    ir::Attrs attrs = g.attrs();
    attrs.set("kernel_shape", g.kernel);
    for (const Op op : {Op::k_max_pool, Op::k_average_pool, Op::k_lp_pool}) {
      const Tensor want = output_of(run_op(op, {x}, attrs));
      ir::Attrs last = attrs;
      last.set("channels_last", int64_t{1});
      EXPECT_TRUE(output_of(run_op(op, {with_channels_last(x)}, last)).same_bytes(with_channels_last(want)));
    }
  }
}

TEST(Pool, CeilModeAddsAWindowThatBeginsInsideOnly) {
  const Tensor x = filled(DType::kF32, {1, 1, 6}, [](int64_t i) { return i; });
  const ir::Attrs attrs{
      {"kernel_shape", std::vector<int64_t>{2}}, {"strides", std::vector<int64_t>{5}}, {"ceil_mode", int64_t{1}}};
  const Tensor y = output_of(run_op(Op::k_max_pool, {x}, attrs));
  EXPECT_THAT(integers_of(y), testing::ElementsAre(1, 5));
  const ir::Attrs far{{"kernel_shape", std::vector<int64_t>{1}},
                      {"strides", std::vector<int64_t>{4}},
                      {"pads", ir::to_shape({0, 3})},
                      {"ceil_mode", int64_t{1}}};
  EXPECT_EQ(output_of(run_op(Op::k_max_pool, {x}, far)).shape(), (std::vector<int64_t>{1, 1, 2}));
}

TEST(Conv, RefusesWhatDoesNotFit) {
  EXPECT_THAT(inferred("%x: f32[1,3,8,8], %w: f32[4,2,3,3]", "conv(%x, %w) {}"), testing::HasSubstr("channels"));
  EXPECT_THAT(inferred("%x: f32[1,2,8,8], %w: f32[4,2,3,3]", "conv(%x, %w) {strides = [0, 1]}"),
              testing::HasSubstr("strides"));
  EXPECT_THAT(inferred("%x: f32[1,2,2,2], %w: f32[4,2,5,5]", "conv(%x, %w) {}"), testing::HasSubstr("negative"));
  EXPECT_EQ(inferred("%x: f32[n,2,h,w], %w: f32[4,2,3,3]", "conv(%x, %w) {strides = [2, 1], pads = dims[1,1,1,1]}"),
            "f32[n,4,floordiv(h + 1, 2),w]");
  EXPECT_EQ(inferred("%x: f32[n,h,w,2], %w: f32[4,2,3,3], %r: f32[n,h,w,4]",
                     "conv(%x, %w, _, %r) {channels_last = 1, pads = dims[1,1,1,1]}"),
            "f32[n,h,w,4]");
  EXPECT_THAT(inferred("%x: f32[1,2,8,8], %w: f32[4,2,1,1], %r: f32[1,3,8,8]", "conv(%x, %w, _, %r) {}"),
              testing::HasSubstr("input 3"));
  EXPECT_THAT(inferred("%x: f32[1,2,8,8], %w: f32[4,2,1,1]", "conv(%x, %w) {activation = \"swish\"}"),
              testing::HasSubstr("'swish'"));
  EXPECT_THAT(inferred("%x: i32[1,2,8,8], %w: i32[4,2,1,1]", "conv(%x, %w) {activation = \"relu\"}"),
              testing::HasSubstr("relu of i32"));
  EXPECT_THAT(inferred("%x: f32[1,8,8,2]", "max_pool(%x) {kernel_shape = [2, 2], indices = 1, channels_last = 1}"),
              testing::HasSubstr("channels last"));
  EXPECT_THAT(inferred("%x: f32[2,8], %w: f32[8,4]", "linear(%x, %w) {activation = \"relu6\"}"),
              testing::HasSubstr("'relu6'"));
}

}  // namespace
}  // namespace tenon::ops
