// conv(transpose(cast(x)))   ->   conv(x) {channels_last = 2}     x of a few channels, which the transpose puts last
//
// Why:      an image as it comes in has three channels of 32 bits, each by itself: as rows of 16 bits they fit no unit
//           of memory, and the reformat costs more than the convolution. Its kernel finds them where they are.
// Order:    behind lower-precision, which makes the cast.
// Declines: groups, a third or only one spatial axis, windows larger than the kernel holds (silently).
#include <algorithm>

#include "ops/interpret.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

// What kernels/cuda/conv_image.cc takes.
constexpr int64_t kMostChannels = 4, kMostKernel = 11, kMostStride = 4, kMostDilation = 2, kMostPairs = 256;

bool at_most(const std::vector<int64_t>& sizes, int64_t most) {
  return std::ranges::all_of(sizes, [&](int64_t n) { return n <= most; });
}

Result<bool> take_image(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_conv) || node.attrs().integer("channels_last") != 1) return rw.no_match();
  Value* rows = node.input(0);
  const Shape& w = node.input(1)->shape();
  if (!rows->is(Op::k_transpose) || rows->rank() != 4 || !ir::all_const(w)) return rw.no_match();
  if (rows->producer()->attrs().integers("perm") != std::vector<int64_t>{0, 2, 3, 1}) return rw.no_match();
  if (!ops::is_constant_expression(*node.input(1)) || !ir::all_const(node.attrs().shape("pads"))) return rw.no_match();
  const std::vector<int64_t> sizes = ir::const_values(w);
  const bool fits = node.attrs().integer("group") == 1 && sizes[1] <= kMostChannels &&
                    at_most({sizes[2], sizes[3]}, kMostKernel) &&
                    at_most(node.attrs().integers("strides"), kMostStride) &&
                    at_most(node.attrs().integers("dilations"), kMostDilation) &&
                    sizes[1] * sizes[2] * ((sizes[3] + 1) / 2) <= kMostPairs;
  if (!fits) return rw.no_match();
  Value* image = rows->producer()->input(0);
  if (image->is(Op::k_cast)) {
    Value* wide = image->producer()->input(0);
    if (wide->dtype() == DType::kF32 || dtype_size(wide->dtype()) == 2) image = wide;
  }
  if (!is_float(image->dtype())) return rw.no_match();
  Attrs attrs = node.attrs();
  attrs.set("channels_last", int64_t{2});
  TENON_ASSIGN(Value * y, rw.create(Op::k_conv, {image, node.input(1), node.input(2), node.input(3)}, attrs));
  rw.absorb_origin(y->producer(), &node);
  rw.replace(node.output(), y);
  return rw.changed(*y->producer(), "the image as it comes in");
}

}  // namespace

Status fuse_image(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-image", {take_image}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
