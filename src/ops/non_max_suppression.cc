#include <numeric>

#include "ops/checks.h"
#include "ops/wide.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  for (int i : {0, 1}) {
    TENON_TRY(require_dtype(c, i, DType::kF32));
    TENON_TRY(require_rank(c, i, 3));
  }
  const Shape &boxes = c.shape(0), &scores = c.shape(1);
  TENON_ASSIGN(const Dim batch, c.same(boxes[0], scores[0]));
  TENON_ASSIGN(const Dim count, c.same(boxes[1], scores[2]));
  if (boxes[2] != Dim(4)) return error(ErrorCode::kBadModel, "boxes of {} numbers", boxes[2].to_string());
  const int64_t most = c.attrs.integer("most");
  const Dim kept = count.is_const() && most >= count.value() ? count : Dim::min(count, Dim(std::max<int64_t>(most, 0)));
  TENON_TRY(c.output(DType::kI64, {batch * scores[1] * kept, Dim(3)}));
  return c.output(DType::kI64, {});
}

struct Box {
  float top, left, bottom, right;
  float area() const { return (bottom - top) * (right - left); }
};

Box box_of(const float* b, bool centre) {
  if (centre) return {b[1] - b[3] / 2, b[0] - b[2] / 2, b[1] + b[3] / 2, b[0] + b[2] / 2};
  return {std::min(b[0], b[2]), std::min(b[1], b[3]), std::max(b[0], b[2]), std::max(b[1], b[3])};
}

// Intersection over union.
float overlap(const Box& a, const Box& b) {
  const float height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top),
              width = std::min(a.right, b.right) - std::max(a.left, b.left);
  if (height <= 0 || width <= 0) return 0;
  const float both = height * width, all = a.area() + b.area() - both;
  return all > 0 ? both / all : 0;
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg boxes = args.input(0), scores = args.input(1), y = args.output(0);
  const int64_t batch = boxes.dim(0), classes = scores.dim(1), n = boxes.dim(1), most = attrs.integer("most");
  if (scores.dim(0) != batch || scores.dim(2) != n)
    return error(ErrorCode::kBadInput, "scores {} for boxes {}", shape_text(scores.shape), shape_text(boxes.shape));
  const auto limit = static_cast<float>(attrs.number("iou_threshold")),
             least = static_cast<float>(attrs.number("score_threshold"));
  std::fill_n(y.as<int64_t>(), y.numel(), int64_t{0});
  int64_t* to = y.as<int64_t>();
  int64_t found = 0;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t c = 0; c < classes; ++c) {
      const float* score = scores.as<float>() + (b * classes + c) * n;
      std::vector<int64_t> order;
      for (int64_t i = 0; i < n; ++i)
        if (score[i] > least) order.push_back(i);
      std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return score[i] > score[j]; });
      std::vector<Box> kept;
      for (const int64_t i : order) {
        if (static_cast<int64_t>(kept.size()) >= most) break;
        const Box box = box_of(boxes.as<float>() + (b * n + i) * 4, attrs.integer("centre") != 0);
        if (std::ranges::any_of(kept, [&](const Box& other) { return overlap(box, other) > limit; })) continue;
        kept.push_back(box);
        *to++ = b;
        *to++ = c;
        *to++ = i;
        ++found;
      }
    }
  }
  *args.output(1).as<int64_t>() = found;
  return {};
}

}  // namespace

OpDef define_non_max_suppression() {
  return {.summary =
              "boxes with the greatest scores that do not overlap: rows (batch, class, box), and how many; boxes [B, "
              "N, 4], scores "
              "[B, classes, N] -> [B * classes * min(N, most), 3] whose rows behind `count` are 0, i64[]",
          .inputs = {{"boxes"}, {"scores"}},
          .outputs = {"selected", "count"},
          .attrs = {{"most", int64_t{0}, true, "boxes per batch entry and class"},
                    {"iou_threshold", 0.0, false, "intersection / union beyond which a box is dropped"},
                    {"score_threshold", -1e300, false, "boxes of this score or less are dropped"},
                    {"centre", int64_t{0}, false,
                     "1: boxes are x, y of the centre, width, height; 0: y, x of two corners"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
