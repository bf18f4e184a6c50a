// attention: tasks of (sequence, head, block of queries), shared among threads by their cost.
#include <cstring>

#include "kernels/cpu/attention_block.h"
#include "kernels/cpu/kernels.h"

namespace tenon::kernels::cpu {
namespace {

enum AttentionInput { kQ, kK, kV, kQOffsets, kKBegin, kKEnd, kQPositions, kKPositions, kScoreBias };

// Rows of a sequence, counted through the batch in dense form too.
struct Sequence {
  int64_t q_begin = 0, q_end = 0, k_begin = 0, k_end = 0;
  // Of one head; the constant stands for packing and starting.
  int64_t cost() const { return (q_end - q_begin) * (k_end - k_begin + 16); }
};

class AttentionLauncher final : public Launcher {
 public:
  AttentionLauncher(const Problem& problem, const VectorCode& code, const Blocking& blocking)
      : attrs_(problem.attrs),
        code_(code),
        queries_(blocking.rows > 0 ? blocking.rows : kQueryBlock),
        heads_(attrs_.integer("heads")),
        group_(attrs_.integer("kv_heads") == 0 ? 1 : heads_ / attrs_.integer("kv_heads")),
        dim_(attrs_.integer("head_dim")),
        bf16_(problem.outputs[0].dtype == DType::kBF16),
        scale_(static_cast<float>(attrs_.number("scale"))),
        columns_(attrs_.integers("columns")),
        causal_(attrs_.integer("causal") != 0),
        window_(attrs_.integer("window")) {}

  size_t workspace(const RunArgs&, int threads) const override {
    return attention_workspace(code_, dim_, queries_, bf16_) * static_cast<size_t>(threads);
  }

  Status launch(const RunArgs& args) const override {
    if (!valid(args)) return reference_error(Op::k_attention, attrs_, args);
    clear_rows_of_no_sequence(args);
    const int64_t batch = batch_of(args);
    int64_t total = 0;
    for (int64_t b = 0; b < batch; ++b) total += sequence(args, b).cost() * heads_;
    constexpr int64_t kLeast = 65536, kPartsOfThread = 8;  // the last ones even out what threads differ in speed
    const int64_t parts =
        args.pool == nullptr || total * dim_ < kLeast
            ? 1
            : std::clamp<int64_t>(total * dim_ / kLeast, args.pool->threads(), args.pool->threads() * kPartsOfThread);
    share_tasks(args.pool, parts, [&](Tasks& tasks, int thread) {
      std::byte* scratch = static_cast<std::byte*>(args.workspace) +
                           attention_workspace(code_, dim_, queries_, bf16_) * static_cast<size_t>(thread);
      for (int64_t i = tasks.next(); i >= 0; i = tasks.next())
        run_part(args, batch, total * i / parts, total * (i + 1) / parts, scratch);
    });
    return {};
  }

 private:
  static int64_t batch_of(const RunArgs& args) {
    return args.input(kQOffsets) ? args.input(kKBegin).dim(0) : args.input(kQ).dim(0);
  }

  static Sequence sequence(const RunArgs& args, int64_t b) {
    if (!args.input(kQOffsets)) {
      const int64_t q = args.input(kQ).dim(1), k = args.input(kK).dim(1);
      return {b * q, (b + 1) * q, b * k, (b + 1) * k};
    }
    const auto* offsets = args.input(kQOffsets).as<const int32_t>();
    return {offsets[b], offsets[b + 1], args.input(kKBegin).as<const int32_t>()[b],
            args.input(kKEnd).as<const int32_t>()[b]};
  }

  int64_t element() const { return bf16_ ? 2 : 4; }  // bytes

  // Every row and bias that will be read is there.
  bool valid(const RunArgs& args) const {
    const TensorArg bias = args.input(kScoreBias);
    const int64_t batch = batch_of(args), q_rows = rows(args.input(kQ)), k_rows = rows(args.input(kK));
    if (bias && ((bias.dim(0) != 1 && bias.dim(0) < batch) || (bias.dim(1) != 1 && bias.dim(1) < heads_))) return false;
    for (int64_t b = 0; b < batch; ++b) {
      const Sequence s = sequence(args, b);
      if (s.q_begin < 0 || s.q_begin > s.q_end || s.q_end > q_rows || s.k_begin < 0 || s.k_begin > s.k_end ||
          s.k_end > k_rows)
        return false;
      if (!bias) continue;
      if (!positions_within(args.input(kQPositions), s.q_begin, s.q_end, bias.dim(2))) return false;
      if (!positions_within(args.input(kKPositions), s.k_begin, s.k_end, bias.dim(3))) return false;
    }
    return true;
  }

  static int64_t rows(const TensorArg& x) { return size_product(x.shape, 0, x.rank() - 1); }

  static bool positions_within(const TensorArg& positions, int64_t begin, int64_t end, int64_t limit) {
    if (limit == 1) return true;  // broadcast
    if (!positions) return end - begin <= limit;
    const auto* p = positions.as<const int32_t>();
    return std::all_of(p + begin, p + end, [&](int32_t v) { return v >= 0 && v < limit; });
  }

  void clear_rows_of_no_sequence(const RunArgs& args) const {
    if (!args.input(kQOffsets)) return;
    const auto* offsets = args.input(kQOffsets).as<const int32_t>();
    std::byte* y = args.output().as<std::byte>();
    const int64_t width = heads_ * dim_ * element(), begin = offsets[0], end = offsets[batch_of(args)];
    std::fill(y, y + begin * width, std::byte{0});
    std::fill(y + end * width, y + args.input(kQ).dim(0) * width, std::byte{0});
  }

  // The tasks that begin at costs [from, to) in the order of sequences, heads and blocks.
  void run_part(const RunArgs& args, int64_t batch, int64_t from, int64_t to, void* scratch) const {
    int64_t at = 0;
    for (int64_t b = 0; b < batch && at < to; ++b) {
      const Sequence s = sequence(args, b);
      if (at + s.cost() * heads_ <= from) {
        at += s.cost() * heads_;
        continue;
      }
      const int64_t per_query = s.cost() / std::max<int64_t>(1, s.q_end - s.q_begin);
      for (int64_t head = 0; head < heads_; ++head) {
        for (int64_t q = s.q_begin; q < s.q_end; q += queries_) {
          const int64_t count = std::min(queries_, s.q_end - q);
          if (at >= from && at < to) run_task(args, b, s, head, q, count, scratch);
          at += count * per_query;
        }
      }
    }
  }

  void run_task(const RunArgs& args, int64_t b, const Sequence& s, int64_t head, int64_t first, int64_t count,
                void* scratch) const {
    const auto rows_at = [&](AttentionInput input, int64_t row, int64_t rows_count, int64_t of_head) {
      const TensorArg x = args.input(input);
      const int64_t at = row * x.dim(-1) + columns_[input] + of_head * dim_;
      return HeadRows{x.as<const std::byte>() + at * element(), x.dim(-1), rows_count};
    };
    const int64_t width = heads_ * dim_;
    attention_block(code_,
                    {.q = rows_at(kQ, first, count, head),
                     .k = rows_at(kK, s.k_begin, s.k_end - s.k_begin, head / group_),
                     .v = rows_at(kV, s.k_begin, s.k_end - s.k_begin, head / group_),
                     .first_query = first - s.q_begin,
                     .head_dim = dim_,
                     .scale = scale_,
                     .visibility = visibility(args, b, s, head, first),
                     .y = args.output().as<std::byte>() + (first * width + head * dim_) * element(),
                     .y_stride = width,
                     .bf16 = bf16_},
                    scratch);
  }

  Visibility visibility(const RunArgs& args, int64_t b, const Sequence& s, int64_t head, int64_t first) const {
    Visibility v{.causal = causal_, .window = window_};
    if (const TensorArg p = args.input(kQPositions)) v.q_positions = p.as<const int32_t>() + first;
    if (const TensorArg p = args.input(kKPositions)) v.k_positions = p.as<const int32_t>() + s.k_begin;
    if (const TensorArg bias = args.input(kScoreBias)) {
      const int64_t q_len = bias.dim(2), k_len = bias.dim(3);
      v.bias = bias.as<const float>() +
               ((bias.dim(0) == 1 ? 0 : b) * bias.dim(1) + (bias.dim(1) == 1 ? 0 : head)) * q_len * k_len;
      v.bias_q_stride = q_len == 1 ? 0 : k_len;
      v.bias_k_stride = k_len == 1 ? 0 : 1;
    }
    return v;
  }

  Attrs attrs_;
  const VectorCode& code_;
  int64_t queries_;  // of a task
  int64_t heads_, group_, dim_;
  bool bf16_;
  float scale_;
  std::vector<int64_t> columns_;
  bool causal_;
  int64_t window_;
};

class AttentionKernel final : public CpuKernel {
 public:
  AttentionKernel(DType type, std::string_view id) : type_(type), id_(id) {}
  std::string_view id() const override { return id_; }
  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_attention) return Support::no("computes attention only");
    for (const int i : {kQ, kK, kV, kScoreBias}) {
      const DType needed = i == kScoreBias ? DType::kF32 : type_;
      if (problem.has(i) && problem.inputs[static_cast<size_t>(i)].dtype != needed)
        return Support::no(fmt::format("input {} is not {}", i, dtype_name(needed)));
    }
    // Pairs of elements are moved together.
    for (int i = kQ; i <= kV && type_ == DType::kBF16; ++i) {
      const ir::Dim width = problem.inputs[static_cast<size_t>(i)].shape.back();
      if (!width.is_const() || width.value() % 2 != 0 ||
          problem.attrs.integers("columns")[static_cast<size_t>(i)] % 2 != 0)
        return Support::no(fmt::format("rows of input {} are not in pairs", i));
    }
    return Support::yes();
  }
  // Small tasks are shared more evenly, large ones pack keys and values less often.
  std::vector<Config> configs(const Problem&) const override {
    std::vector<Blocking> choices;
    for (const int64_t queries : {48, 96, 384}) choices.push_back({.rows = queries});
    return blocking_configs(choices, "online-128", [](const Blocking&) { return 0.0; });
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config& config,
                                          const VectorCode& code) const override {
    return std::make_unique<AttentionLauncher>(problem, code, blocking_of(config));
  }

 private:
  DType type_;
  std::string_view id_;
};

}  // namespace

const CpuKernel& attention_kernel() {
  static const AttentionKernel kernel(DType::kF32, "cpu.attention.f32");
  return kernel;
}

const CpuKernel& attention_bf16_kernel() {
  static const AttentionKernel kernel(DType::kBF16, "cpu.attention.bf16");
  return kernel;
}

}  // namespace tenon::kernels::cpu
