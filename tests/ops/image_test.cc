// Resampling: what is linear stays linear, identity grids change nothing, regions are averages of what they cover.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/index.h"
#include "tests/ops/run_op.h"

namespace tenon::ops {
namespace {

using namespace test;  // NOLINT
using ir::Op;

TEST(Resize, NearestByAWholeFactorRepeats) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 20; ++round) {
    const int64_t height = random.integer(1, 7), width = random.integer(1, 7), a = random.integer(1, 4),
                  b = random.integer(1, 4);
    const DType dtype = random.pick(std::vector<DType>{DType::kF32, DType::kF16, DType::kU8, DType::kI32});
    const Tensor x = random.tensor(dtype, {2, height, width}, 0, 99);
    const Tensor y = output_of(run_op(Op::k_resize, {x},
                                      {{"sizes", ir::to_shape({2, height * a, width * b})},
                                       {"place", std::string("asymmetric")},
                                       {"nearest", std::string("floor")}}));
    const Tensor want = tensor_of(dtype, {2, height * a, width * b}, [&](const Index& at) {
      return x.at(flat({at[0], at[1] / a, at[2] / b}, x.shape()));
    });
    EXPECT_TRUE(close(y, want)) << "round " << round;
  }
}

// A ramp is what linear and cubic interpolation, and their widened filters, must reproduce away from the edges.
TEST(Resize, ARampStaysARamp) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const char* mode : {"linear", "cubic"}) {
    for (const int64_t antialias : {0, 1}) {
      const int64_t n = random.integer(20, 30), m = random.integer(7, 60);
      const Tensor x = filled(DType::kF64, {n}, [](int64_t i) { return 3.0 * static_cast<double>(i) + 1; });
      const Tensor y = output_of(run_op(
          Op::k_resize, {x}, {{"sizes", ir::to_shape({m})}, {"mode", std::string(mode)}, {"cubic", -0.5}, {"antialias", antialias}}));
      const double scale = static_cast<double>(m) / static_cast<double>(n);
      for (int64_t i = 0; i < m; ++i) {
        const double place = (static_cast<double>(i) + 0.5) / scale - 0.5, reach = 2 / std::min(scale, 1.0) + 1;
        // Cubic convolution with -0.5 reproduces lines (Keys 1981); widened and renormalised it does so nearly: of all
        // these sizes the triangle's centre of mass is off by at most 0.0858 elements, and the slope is 3.
        if (place <= reach || place >= static_cast<double>(n - 1) - reach) continue;
        EXPECT_NEAR(y.at(i), 3 * place + 1, antialias ? 0.26 : 1e-9) << mode << " " << i;
      }
    }
  }
}

TEST(Resize, ToItsOwnSizeChangesNothing) {
  Random random;
  const Tensor x = random.tensor(DType::kF32, {1, 3, 7, 5});
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    for (const char* place :
         {"half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"}) {
      const auto y =
          run_op(Op::k_resize, {x},
                 {{"sizes", ir::to_shape(x.shape())}, {"mode", std::string(mode)}, {"place", std::string(place)}});
      EXPECT_TRUE(close(output_of(y), x)) << mode << " " << place;
    }
  }
}

TEST(Resize, RefusesUnknownModesAndScales) {
  EXPECT_THAT(inferred("%x: f32[4]", "resize(%x) {sizes = dims[8], mode = \"best\"}"),
              testing::HasSubstr("unknown mode"));
  EXPECT_THAT(inferred("%x: f32[4]", "resize(%x) {sizes = dims[8], scales = numbers[0.0]}"),
              testing::HasSubstr("scale"));
  EXPECT_THAT(inferred("%x: f32[4]", "resize(%x) {sizes = dims[8,8]}"), testing::HasSubstr("sizes"));
}

// Places of x's own elements, innermost axis first.
Tensor identity_grid(const std::vector<int64_t>& out, bool corners) {
  std::vector<int64_t> shape{1};
  shape.insert(shape.end(), out.begin(), out.end());
  shape.push_back(static_cast<int64_t>(out.size()));
  return tensor_of(DType::kF64, shape, [&](const Index& at) {
    const size_t axis = out.size() - 1 - static_cast<size_t>(at.back());
    const auto n = static_cast<double>(out[axis]), i = static_cast<double>(at[1 + axis]);
    return corners ? 2 * i / (n - 1) - 1 : (2 * i + 1) / n - 1;
  });
}

TEST(GridSample, AnIdentityGridChangesNothing) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const bool corners : {false, true}) {
    for (const char* mode : {"nearest", "linear", "cubic"}) {
      for (const char* padding : {"zeros", "border", "reflection"}) {
        for (const auto& size : std::vector<std::vector<int64_t>>{{5, 4}, {3, 4, 2}}) {
          std::vector<int64_t> shape{1, 2};
          shape.insert(shape.end(), size.begin(), size.end());
          const Tensor x = random.tensor(DType::kF64, shape);
          const auto y = run_op(
              Op::k_grid_sample, {x, identity_grid(size, corners)},
              {{"mode", std::string(mode)}, {"padding", std::string(padding)}, {"align_corners", int64_t{corners}}});
          EXPECT_TRUE(close(output_of(y), x, {1e-9, 1e-9})) << mode << " " << padding << " " << corners;
        }
      }
    }
  }
}

TEST(GridSample, FarOutsideIsZeroTheBorderOrAReflection) {
  const Tensor x = filled(DType::kF32, {1, 1, 1, 4}, [](int64_t i) { return i + 1; });
  const auto at = [&](double place, const char* padding) {
    const Tensor grid = values(DType::kF32, {1, 1, 1, 2}, {place, 0});
    return output_of(run_op(Op::k_grid_sample, {x, grid},
                            {{"mode", std::string("nearest")},
                             {"padding", std::string(padding)},
                             {"align_corners", int64_t{1}}}))
        .at(0);
  };
  EXPECT_EQ(at(9, "zeros"), 0);
  EXPECT_EQ(at(9, "border"), 4);
  EXPECT_EQ(at(-9, "border"), 1);
  EXPECT_EQ(at(5.0 / 3, "reflection"), 3);  // index 4 is 2 again
  for (const double wild : {kNan, kInf, -kInf, 1e30}) EXPECT_NO_FATAL_FAILURE(at(wild, "reflection"));
}

TEST(RoiAlign, OfALinearImageIsItsValueAtTheBinsCentres) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x =
      tensor_of(DType::kF32, {2, 1, 16, 16}, [](const Index& at) { return 2 * at[2] + 3 * at[3] + 100 * at[0]; });
  const double left = random.real(2, 5), top = random.real(2, 5), right = random.real(8, 12),
               bottom = random.real(8, 12);
  const Tensor boxes = values(DType::kF32, {1, 4}, {left, top, right, bottom});
  const Tensor y = output_of(run_op(Op::k_roi_align, {x, boxes, i64({1}, {1})},
                                    {{"height", int64_t{3}}, {"width", int64_t{2}}, {"samples", int64_t{2}}}));
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t j = 0; j < 2; ++j) {
      const double row = top - 0.5 + (static_cast<double>(i) + 0.5) * (bottom - top) / 3,
                   column = left - 0.5 + (static_cast<double>(j) + 0.5) * (right - left) / 2;
      EXPECT_NEAR(y.at(i * 2 + j), 100 + 2 * row + 3 * column, 1e-3);
    }
  }
  EXPECT_FALSE(
      run_op(Op::k_roi_align, {x, boxes, i64({1}, {2})}, {{"height", int64_t{3}}, {"width", int64_t{2}}}).ok());
}

TEST(NonMaxSuppression, KeptBoxesDoNotOverlapAndDroppedOnesDo) {
  Random random;
  SCOPED_TRACE(random.trace());
  const int64_t n = 30, classes = 3, batch = 2;
  const Tensor boxes = tensor_of(DType::kF32, {batch, n, 4},
                                 [&](const Index& at) { return at[2] < 2 ? random.real(0, 8) : random.real(8, 12); });
  const Tensor scores = random.tensor(DType::kF32, {batch, classes, n}, 0, 1);
  const auto result = run_op(Op::k_non_max_suppression, {boxes, scores},
                             {{"most", int64_t{100}}, {"iou_threshold", 0.4}, {"score_threshold", 0.2}});
  ASSERT_TRUE(result.ok()) << result.status().message();
  const int64_t count = (*result)[1].int_at(0);
  const auto overlap = [&](int64_t b, int64_t i, int64_t j) {
    const auto c = [&](int64_t box, int64_t k) { return boxes.at((b * n + box) * 4 + k); };
    const double h = std::min(c(i, 2), c(j, 2)) - std::max(c(i, 0), c(j, 0)),
                 w = std::min(c(i, 3), c(j, 3)) - std::max(c(i, 1), c(j, 1));
    const double both = std::max(h, 0.0) * std::max(w, 0.0);
    return both / ((c(i, 2) - c(i, 0)) * (c(i, 3) - c(i, 1)) + (c(j, 2) - c(j, 0)) * (c(j, 3) - c(j, 1)) - both);
  };
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t k = 0; k < classes; ++k) {
      std::vector<int64_t> kept;
      for (int64_t r = 0; r < count; ++r)
        if ((*result)[0].int_at(r * 3) == b && (*result)[0].int_at(r * 3 + 1) == k)
          kept.push_back((*result)[0].int_at(r * 3 + 2));
      const auto score = [&](int64_t i) { return scores.at((b * classes + k) * n + i); };
      for (int64_t i = 0; i < n; ++i) {
        bool covered = false;  // by a kept box of a better score
        for (const int64_t j : kept) covered = covered || (j != i && score(j) >= score(i) && overlap(b, i, j) > 0.4);
        EXPECT_EQ(std::ranges::count(kept, i) == 1, score(i) > 0.2 && !covered) << b << " " << k << " " << i;
      }
      EXPECT_TRUE(std::ranges::is_sorted(kept, std::greater<>(), score));
    }
  }
}

}  // namespace
}  // namespace tenon::ops
