#include "ops/checks.h"
#include "ops/token_mask.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(require_rank(c, 0, 2));
  return c.output(DType::kI64, {});
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  TENON_ASSIGN(const TokenMask mask, read_token_mask(args.input(0), attrs.integers("keep_positions")));
  int64_t count = 0;
  for (int64_t b = 0; b < mask.batch; ++b) count += mask.rows(b);
  *args.output().as<int64_t>() = count;
  return {};
}

}  // namespace

OpDef define_count_tokens() {
  return {.summary = "the number of positions of mask [batch, seq] (0 or 1) that are 1 or kept: the size `tokens` of pack_tokens -> i64[]",
          .inputs = {{"mask"}},
          .outputs = {"tokens"},
          .attrs = {{"keep_positions", std::vector<int64_t>{}, false,
                     "positions that stay rows of every sequence; negative ones count from the end"}},
          .infer = infer,
          .flops = flops_per_input,
          .reference = reference};
}

}  // namespace tenon::ops
