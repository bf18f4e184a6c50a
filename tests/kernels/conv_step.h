// Steps of conv on images whose channels are last.
#pragma once

#include <cmath>

#include "tests/kernels/run_kernel.h"

namespace tenon::test {

struct ConvCase {
  std::vector<int64_t> image;  // spatial sizes
  int64_t batch, channels, filters, groups;
  std::vector<int64_t> kernel, strides, dilations, pads;
};

inline Step step_of(Random& random, const ConvCase& c, const std::string& activation, bool bias, bool residual,
                    bool of_sum) {
  std::vector<int64_t> x{c.batch}, w{c.filters, c.channels / c.groups};
  x.insert(x.end(), c.image.begin(), c.image.end());
  x.push_back(c.channels);
  w.insert(w.end(), c.kernel.begin(), c.kernel.end());
  Step step{Op::k_conv,
            {random.tensor(DType::kF32, x, -1, 1), random.tensor(DType::kF32, w, -1, 1), std::nullopt, std::nullopt},
            {{"strides", c.strides},
             {"dilations", c.dilations},
             {"pads", ir::to_shape(c.pads)},
             {"group", c.groups},
             {"channels_last", int64_t{1}},
             {"activation", activation},
             {"activate_sum", int64_t{of_sum}}},
            {1, 2}};
  if (bias) step.inputs[2] = random.tensor(DType::kF32, {c.filters});
  if (residual) {
    const auto built = build(step);
    EXPECT_TRUE(built.ok()) << built.status().message();
    step.inputs[3] = random.tensor(DType::kF32, ir::const_values((*built)->problem.outputs[0].shape), -2, 2);
  }
  return step;
}

// Rounding of a sum grows with the root of its length.
inline Tolerance for_sum_of(const Step& step) {
  const Tensor& w = *step.inputs[1];
  return tolerance(DType::kF32) * (2 + std::sqrt(static_cast<double>(w.numel() / w.shape()[0])));
}

}  // namespace tenon::test
