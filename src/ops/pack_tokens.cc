#include <limits>

#include "ops/checks.h"
#include "ops/token_mask.h"

namespace tenon::ops {
namespace {

enum Output { kRowOffsets, kKeyBegin, kKeyEnd, kGather, kPositions, kKeptRows };

Status infer(InferContext& c) {
  TENON_TRY(require_rank(c, 0, 2));
  const Shape& tokens = c.attrs.shape("tokens");
  if (tokens.size() != 1) return error(ErrorCode::kBadModel, "attribute 'tokens' has {} entries, one expected", tokens.size());
  const Dim batch = c.shape(0)[0];
  const auto kept = static_cast<int64_t>(c.attrs.integers("keep_positions").size());
  TENON_TRY(c.output(DType::kI32, {batch + 1}));
  TENON_TRY(c.output(DType::kI32, {batch}));
  TENON_TRY(c.output(DType::kI32, {batch}));
  TENON_TRY(c.output(DType::kI32, tokens));
  TENON_TRY(c.output(DType::kI32, tokens));
  return c.output(DType::kI32, {batch, Dim(kept)});
}

// Appends rows to the outputs `gather` and `positions`, which hold `capacity` of them.
class RowWriter {
 public:
  RowWriter(const RunArgs& args, int64_t seq) : args_(args), seq_(seq), capacity_(args.output(kGather).dim(0)) {}

  int32_t count() const { return static_cast<int32_t>(count_); }
  // Rows beyond the capacity are counted only.
  void add(int64_t b, int64_t s) {
    if (count_ < capacity_) {
      args_.output(kGather).as<int32_t>()[count_] = static_cast<int32_t>(b * seq_ + s);
      args_.output(kPositions).as<int32_t>()[count_] = static_cast<int32_t>(s);
    }
    ++count_;
  }
  // Surplus entries refer to position 0 of the first sequence: harmless to read.
  Status finish() {
    if (count_ > capacity_) {
      return error(ErrorCode::kInternal, "the mask has {} rows, but room was made for {}", count_, capacity_);
    }
    std::fill(args_.output(kGather).as<int32_t>() + count_, args_.output(kGather).as<int32_t>() + capacity_, 0);
    std::fill(args_.output(kPositions).as<int32_t>() + count_, args_.output(kPositions).as<int32_t>() + capacity_, 0);
    return {};
  }

 private:
  const RunArgs& args_;
  int64_t seq_, capacity_, count_ = 0;
};

Status reference(const Attrs& attrs, const RunArgs& args) {
  TENON_ASSIGN(const TokenMask mask, read_token_mask(args.input(0), attrs.integers("keep_positions")));
  if (mask.batch * mask.seq > std::numeric_limits<int32_t>::max()) {
    return error(ErrorCode::kUnsupported, "a batch of more than 2^31 - 1 positions");
  }
  RowWriter rows(args, mask.seq);
  std::vector<int32_t> row_of(static_cast<size_t>(mask.seq), 0);  // of each position of the present sequence
  const auto kept = static_cast<int64_t>(mask.kept.size());
  for (int64_t b = 0; b < mask.batch; ++b) {
    const auto add = [&](int64_t s) {
      row_of[static_cast<size_t>(s)] = rows.count();
      rows.add(b, s);
    };
    args.output(kRowOffsets).as<int32_t>()[b] = rows.count();
    for (const int64_t s : mask.kept_sorted) {
      if (!mask.is_visible(b, s)) add(s);
    }
    args.output(kKeyBegin).as<int32_t>()[b] = rows.count();
    for (int64_t s = 0; s < mask.seq; ++s) {
      if (mask.is_visible(b, s)) add(s);
    }
    args.output(kKeyEnd).as<int32_t>()[b] = rows.count();
    for (int64_t i = 0; i < kept; ++i) {
      args.output(kKeptRows).as<int32_t>()[b * kept + i] = row_of[static_cast<size_t>(mask.kept[static_cast<size_t>(i)])];
    }
  }
  args.output(kRowOffsets).as<int32_t>()[mask.batch] = rows.count();
  return rows.finish();
}

}  // namespace

OpDef define_pack_tokens() {
  return {.summary = "the packing of mask [batch, seq] (0 or 1): rows of a sequence are its kept but masked positions, then the mask's "
                     "own, both ascending; key_begin..key_end are the mask's rows, gather = b*seq + s and positions = s of each "
                     "row, kept_rows[b, i] = row of keep_positions[i]; surplus entries are 0",
          .inputs = {{"mask"}},
          .outputs = {"row_offsets", "key_begin", "key_end", "gather", "positions", "kept_rows"},
          .attrs = {{"keep_positions", std::vector<int64_t>{}, false,
                     "positions that stay rows of every sequence; negative ones count from the end"},
                    {"tokens", Shape{}, true, "one entry: how many rows to make room for"}},
          .infer = infer,
          .flops = flops_per_input,
          .reference = reference};
}

}  // namespace tenon::ops
