// Packing and unpacking of padded batches: count_tokens, pack_tokens, unpack_tokens, segment_reduce.
#include <cstring>
#include <functional>
#include <limits>

#include "base/dtype.h"
#include "kernels/cpu/kernels.h"

namespace tenon::kernels::cpu {
namespace {

// ---- Masks
// -------------------------------------------------------------------------------------------------------------

bool is_mask_type(DType t) {
  return t == DType::kBool || t == DType::kU8 || t == DType::kI32 || t == DType::kI64 || t == DType::kF32;
}

// Element i of a mask: 1 or 0, or something else where the mask is wrong.
int mask_at(const TensorArg& mask, int64_t i) {
  const auto read = [](auto v) { return v == 1 ? 1 : (v == 0 ? 0 : -1); };
  switch (mask.dtype) {
    case DType::kI32:
      return read(mask.as<const int32_t>()[i]);
    case DType::kI64:
      return read(mask.as<const int64_t>()[i]);
    case DType::kF32:
      return read(mask.as<const float>()[i]);
    default:
      return read(mask.as<const uint8_t>()[i]);
  }
}

// Positions of each sequence that stay as rows where the mask hides them. There are few of them.
class Kept {
 public:
  explicit Kept(const Attrs& attrs) : given_(attrs.integers("keep_positions")) {}

  int64_t size() const { return static_cast<int64_t>(given_.size()); }
  int64_t position(int64_t i, int64_t seq) const {
    const int64_t p = given_[static_cast<size_t>(i)];
    return p < 0 ? p + seq : p;
  }
  bool within(int64_t seq) const {
    return std::all_of(given_.begin(), given_.end(), [&](int64_t p) { return p >= -seq && p < seq; });
  }
  // The least position above `after`; seq when there is none.
  int64_t next(int64_t after, int64_t seq) const {
    int64_t least = seq;
    for (int64_t i = 0; i < size(); ++i)
      if (const int64_t p = position(i, seq); p > after && p < least) least = p;
    return least;
  }

 private:
  std::vector<int64_t> given_;
};

bool valid_sizes(const TensorArg& mask, const Kept& kept) {
  return kept.within(mask.dim(1)) && mask.numel() <= std::numeric_limits<int32_t>::max();
}

// Of elements begin .. begin + count of a mask; -1: it is wrong.
int64_t count_ones(const VectorCode& code, const TensorArg& mask, int64_t begin, int64_t count) {
  if (mask.dtype == DType::kI64) return code.count_ones(mask.as<const int64_t>() + begin, count);  // what masks are
  int64_t ones = 0;
  for (int64_t i = begin; i < begin + count; ++i) {
    const int one = mask_at(mask, i);
    if (one < 0) return -1;
    ones += one;
  }
  return ones;
}

class CountLauncher final : public Launcher {
 public:
  CountLauncher(const Problem& problem, const VectorCode& code)
      : attrs_(problem.attrs), code_(code), kept_(problem.attrs) {}
  Status launch(const RunArgs& args) const override {
    const TensorArg mask = args.input(0);
    const int64_t batch = mask.dim(0), seq = mask.dim(1);
    int64_t count = valid_sizes(mask, kept_) ? count_ones(code_, mask, 0, mask.numel()) : -1;
    if (count < 0) return reference_error(Op::k_count_tokens, attrs_, args);
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t s = kept_.next(-1, seq); s < seq; s = kept_.next(s, seq)) count += 1 - mask_at(mask, b * seq + s);
    *args.output().as<int64_t>() = count;
    return {};
  }

 private:
  Attrs attrs_;
  const VectorCode& code_;
  Kept kept_;
};

class PackLauncher final : public Launcher {
 public:
  PackLauncher(const Problem& problem, const VectorCode& code)
      : attrs_(problem.attrs), code_(code), kept_(problem.attrs) {}

  Status launch(const RunArgs& args) const override {
    const TensorArg mask = args.input(0);
    if (!valid_sizes(mask, kept_)) return reference_error(Op::k_pack_tokens, attrs_, args);
    if (mask.dtype != DType::kI64) return pack(args, [&](int64_t i) { return mask_at(mask, i); });
    const auto* bits = mask.as<const int64_t>();
    return pack(args, [&](int64_t i) { return bits[i]; });
  }

 private:
  enum Output { kRowOffsets, kKeyBegin, kKeyEnd, kGather, kPositions, kKeptRows };

  template <class MaskAt>
  Status pack(const RunArgs& args, MaskAt&& at) const {
    const TensorArg mask = args.input(0);
    const int64_t batch = mask.dim(0), seq = mask.dim(1), capacity = args.output(kGather).dim(0);
    auto* gather = args.output(kGather).as<int32_t>();
    auto* positions = args.output(kPositions).as<int32_t>();
    int64_t rows = 0;
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t first = rows, ones = count_ones(code_, mask, b * seq, seq);
      if (ones < 0) return reference_error(Op::k_pack_tokens, attrs_, args);
      const auto set_row = [&](int64_t s) {
        gather[rows] = static_cast<int32_t>(b * seq + s);
        positions[rows] = static_cast<int32_t>(s);
      };
      for (int64_t s = kept_.next(-1, seq); s < seq; s = kept_.next(s, seq)) {
        if (at(b * seq + s) != 0) continue;
        if (rows < capacity) set_row(s);
        ++rows;
      }
      const int64_t keys = rows, end = rows + ones;
      int64_t start = 0;
      while (start < seq - ones && at(b * seq + start) == 0) ++start;
      if (end > capacity) {
        rows = end;
      } else if (ones == seq || count_ones(code_, mask, b * seq + start, ones) == ones) {  // padding at the ends alone
        code_.iota(static_cast<int32_t>(b * seq + start), ones, gather + rows);
        code_.iota(static_cast<int32_t>(start), ones, positions + rows);
        rows = end;
      } else {
        for (int64_t s = start; rows < end; ++s) {  // without a branch: what is no row is written over
          set_row(s);
          rows += at(b * seq + s);
        }
      }
      args.output(kRowOffsets).as<int32_t>()[b] = static_cast<int32_t>(first);
      args.output(kKeyBegin).as<int32_t>()[b] = static_cast<int32_t>(keys);
      args.output(kKeyEnd).as<int32_t>()[b] = static_cast<int32_t>(rows);
      if (rows <= capacity)
        find_kept_rows(args, b, {positions + first, positions + keys}, {positions + keys, positions + rows});
    }
    args.output(kRowOffsets).as<int32_t>()[batch] = static_cast<int32_t>(rows);
    if (rows > capacity) return reference_error(Op::k_pack_tokens, attrs_, args);
    std::fill(gather + rows, gather + capacity, 0);  // surplus rows of a bucket: harmless to read
    std::fill(positions + rows, positions + capacity, 0);
    return {};
  }

  // Where the kept positions of a sequence stand, among its hidden ones or its keys: both ascend.
  void find_kept_rows(const RunArgs& args, int64_t b, std::span<const int32_t> hidden,
                      std::span<const int32_t> keys) const {
    const auto* all = args.output(kPositions).as<const int32_t>();
    const int64_t seq = args.input(0).dim(1);
    for (int64_t i = 0; i < kept_.size(); ++i) {
      const auto position = static_cast<int32_t>(kept_.position(i, seq));
      auto found = std::lower_bound(keys.begin(), keys.end(), position);
      if (found == keys.end() || *found != position) found = std::lower_bound(hidden.begin(), hidden.end(), position);
      args.output(kKeptRows).as<int32_t>()[b * kept_.size() + i] = static_cast<int32_t>(&*found - all);
    }
  }

  Attrs attrs_;
  const VectorCode& code_;
  Kept kept_;
};

// ---- Rows
// --------------------------------------------------------------------------------------------------------------

class UnpackLauncher final : public Launcher {
 public:
  explicit UnpackLauncher(const Problem& problem) : attrs_(problem.attrs) {}

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(0), y = args.output();
    const auto* gather = args.input(1).as<const int32_t>();
    const auto* offsets = args.input(2).as<const int32_t>();
    const auto* key_begin = args.input(3).as<const int32_t>();
    const int64_t batch = y.dim(0), cells = batch * y.dim(1);
    const int64_t bytes = size_product(x.shape, 1, x.rank()) * static_cast<int64_t>(dtype_size(x.dtype));
    if (!valid(gather, offsets, key_begin, batch, cells, x.dim(0)))
      return reference_error(Op::k_unpack_tokens, attrs_, args);
    for_range(args.pool, cells, y.numel(), [&](int64_t begin, int64_t end, int) {
      std::memset(y.as<std::byte>() + begin * bytes, 0, static_cast<size_t>((end - begin) * bytes));
    });
    for_range(args.pool, batch, y.numel(), [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b)
        for (int64_t row = key_begin[b]; row < offsets[b + 1]; ++row)
          std::memcpy(y.as<std::byte>() + gather[row] * bytes, x.as<const std::byte>() + row * bytes,
                      static_cast<size_t>(bytes));
    });
    return {};
  }

 private:
  static bool valid(const int32_t* gather, const int32_t* offsets, const int32_t* key_begin, int64_t batch,
                    int64_t cells, int64_t rows) {
    for (int64_t b = 0; b < batch; ++b) {
      if (key_begin[b] < 0 || key_begin[b] > offsets[b + 1] || offsets[b + 1] > rows) return false;
      if (!std::all_of(gather + key_begin[b], gather + offsets[b + 1],
                       [&](int32_t cell) { return cell >= 0 && cell < cells; }))
        return false;
    }
    return true;
  }
  Attrs attrs_;
};

class SegmentLauncher final : public Launcher {
 public:
  SegmentLauncher(const Problem& problem, const VectorCode& code)
      : attrs_(problem.attrs),
        code_(code),
        mean_(attrs_.text("kind") == "mean"),
        function_(attrs_.text("kind") == "max" ? Function::kMax : Function::kAdd) {}

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(0), y = args.output();
    const auto* begins = args.input(1).as<const int32_t>();
    const auto* ends = args.input(2).as<const int32_t>();
    const int64_t width = size_product(x.shape, 1, x.rank());
    for (int64_t b = 0; b < y.dim(0); ++b)
      if (begins[b] < 0 || begins[b] > ends[b] || ends[b] > x.dim(0))
        return reference_error(Op::k_segment_reduce, attrs_, args);
    for_range(args.pool, y.dim(0), x.numel(), [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b) {
        float* to = y.as<float>() + b * width;
        std::fill_n(to, width, 0.0f);
        const float* row = x.as<const float>() + begins[b] * width;
        const int64_t count = ends[b] - begins[b];
        if (count > 0) std::copy_n(row, width, to);
        for (int64_t i = 1; i < count; ++i) code_.apply(function_, to, row + i * width, nullptr, to, width);
        if (mean_ && count > 0) code_.scale(to, width, 1.0f / static_cast<float>(count));
      }
    });
    return {};
  }

 private:
  Attrs attrs_;
  const VectorCode& code_;
  bool mean_;
  Function function_;
};

// ---- Kernels
// -----------------------------------------------------------------------------------------------------------

class TokenKernel final : public CpuKernel {
 public:
  TokenKernel(Op op, std::string_view id) : op_(op), id_(id) {}
  std::string_view id() const override { return id_; }
  Support supports(const Problem& problem) const override {
    if (problem.op != op_) return Support::no(fmt::format("computes {} only", ir::op_name(op_)));
    const DType x = problem.inputs[0].dtype;
    if (op_ == Op::k_segment_reduce && x != DType::kF32)
      return Support::no(fmt::format("input 0 is {}, f32 is needed", dtype_name(x)));
    if (op_ == Op::k_unpack_tokens && (problem.attrs.integer("column") >= 0 || x != problem.outputs[0].dtype))
      return Support::no("moves whole rows as they are");
    const bool reads_mask = op_ == Op::k_count_tokens || op_ == Op::k_pack_tokens;
    if (reads_mask && !is_mask_type(x)) return Support::no(fmt::format("the mask is {}", dtype_name(x)));
    return Support::yes();
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    if (op_ == Op::k_count_tokens) return std::make_unique<CountLauncher>(problem, code);
    if (op_ == Op::k_pack_tokens) return std::make_unique<PackLauncher>(problem, code);
    if (op_ == Op::k_unpack_tokens) return std::make_unique<UnpackLauncher>(problem);
    return std::make_unique<SegmentLauncher>(problem, code);
  }

 private:
  Op op_;
  std::string_view id_;
};

}  // namespace

const CpuKernel& count_tokens_kernel() {
  static const TokenKernel kernel(Op::k_count_tokens, "cpu.count_tokens");
  return kernel;
}

const CpuKernel& pack_tokens_kernel() {
  static const TokenKernel kernel(Op::k_pack_tokens, "cpu.pack_tokens");
  return kernel;
}

const CpuKernel& unpack_tokens_kernel() {
  static const TokenKernel kernel(Op::k_unpack_tokens, "cpu.unpack_tokens");
  return kernel;
}

const CpuKernel& segment_reduce_kernel() {
  static const TokenKernel kernel(Op::k_segment_reduce, "cpu.segment_reduce.f32");
  return kernel;
}

}  // namespace tenon::kernels::cpu
