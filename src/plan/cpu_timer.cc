#include "plan/cpu_timer.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "base/env.h"
#include "kernels/cpu/isa.h"
#include "runtime/executable.h"

namespace tenon::plan {
namespace {

using ir::Op;
using ir::Tensor;
using kernels::Config;
using kernels::Problem;

constexpr size_t kWeightRotation = size_t{96}
                                   << 20;  // bytes that weights are taken from in turn: more than most caches hold
constexpr double kSampleSeconds = 2e-4;    // that the launches of a sample last, at least
constexpr int kSampleLaunches = 2;         // of which the fastest counts: other processes only ever slow one down
constexpr size_t kLineBytes = 64;
constexpr int64_t kTextLength = 128;  // tokens of a text

enum AttentionInput { kQ, kK, kV, kQOffsets, kKBegin, kKEnd, kQPositions, kKPositions, kScoreBias };

// Finite, of either sign, between 1/256 and 1.
Result<Tensor> random_floats(DType dtype, const std::vector<int64_t>& shape) {
  std::byte* bytes = nullptr;
  TENON_ASSIGN(Tensor made, Tensor::allocate(dtype, shape, &bytes));
  uint64_t state = 0x9e3779b97f4a7c15;
  for (int64_t i = 0; i < made.numel(); ++i) {
    state = state * 6364136223846793005 + 1442695040888963407;
    const float value = (static_cast<float>(state >> 40 & 255) + 1) / 256 * ((state >> 63) != 0 ? 1.0f : -1.0f);
    if (dtype == DType::kBF16)
      reinterpret_cast<BF16*>(bytes)[i] = BF16(value);
    else
      reinterpret_cast<float*>(bytes)[i] = value;
  }
  return made;
}

template <class F>
Result<Tensor> indices(int64_t count, const F& value) {
  std::byte* bytes = nullptr;
  TENON_ASSIGN(Tensor made, Tensor::allocate(DType::kI32, {count}, &bytes));
  for (int64_t i = 0; i < count; ++i) reinterpret_cast<int32_t*>(bytes)[i] = static_cast<int32_t>(value(i));
  return made;
}

// Rows that come as texts of equal length, as far as they can.
struct Texts {
  explicit Texts(int64_t all_rows) : rows(all_rows), count((all_rows + kTextLength - 1) / kTextLength) {}
  int64_t begin(int64_t text) const { return rows * text / count; }
  int64_t rows, count;
};

// Input `index` of an attention over packed rows, or over texts of one length each.
Result<Tensor> attention_input(const Problem& problem, int index, const Texts& texts) {
  const auto text_of = [&](int64_t row) {
    int64_t text = 0;
    while (texts.begin(text + 1) <= row) ++text;
    return text;
  };
  switch (index) {
    case kQOffsets:
      return indices(texts.count + 1, [&](int64_t i) { return texts.begin(i); });
    case kKBegin:
      return indices(texts.count, [&](int64_t i) { return texts.begin(i); });
    case kKEnd:
      return indices(texts.count, [&](int64_t i) { return texts.begin(i + 1); });
    case kQPositions:
    case kKPositions:
      return indices(texts.rows, [&](int64_t i) { return i - texts.begin(text_of(i)); });
    default: {
      const ir::TensorType& type = problem.inputs[static_cast<size_t>(index)];
      const int64_t width = type.shape.back().value();
      if (type.rank() == 2) return random_floats(type.dtype, {texts.rows, width});
      return random_floats(type.dtype, {texts.count, texts.rows / texts.count, width});
    }
  }
}

Result<Tensor> output(const Problem& problem, const ir::TensorType& type, const Texts& texts) {
  std::vector<int64_t> shape = {texts.rows, type.shape.back().value()};
  if (problem.op == Op::k_attention && type.rank() == 3) shape = {texts.count, texts.rows / texts.count, shape.back()};
  std::byte* ignored = nullptr;
  return Tensor::allocate(type.dtype, std::move(shape), &ignored);
}

}  // namespace

Machine cpu_at_hand() {
  const int threads = runtime::Executable::make_pool(0)->threads();
  return {.compute_capability = 0,
          .multiprocessors = threads,
          .device = fmt::format("{}, {} threads", kernels::cpu::processor_name(), threads),
          .driver = 0,
          .workspace_limit = 0,
          .tactics = {}};
}

std::string CpuTimer::declines(const Problem& problem) const {
  if (problem.op != Op::k_linear && problem.op != Op::k_attention) return "only linears and attentions are timed";
  for (const ir::TensorType& type : problem.outputs)
    if (type.shape.empty() || !type.shape.back().is_const()) return "the width of the rows is not known";
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    const ir::TensorType& type = problem.inputs[i];
    if (!problem.present[i]) continue;
    const bool index = problem.op == Op::k_attention && i >= kQOffsets && i <= kKPositions;
    if (index ? type.dtype != DType::kI32 : type.dtype != DType::kF32 && type.dtype != DType::kBF16)
      return fmt::format("what input {} holds decides the time", i);
    if (type.shape.empty() || (!index && !type.shape.back().is_const())) return "the width of the rows is not known";
  }
  if (problem.op == Op::k_linear) return "";
  if (problem.has(kScoreBias)) return "what is hidden decides the time";
  // Of queries and keys of one text: the rows are the same.
  for (const int i : {kK, kV}) {
    ir::Shape own = problem.inputs[static_cast<size_t>(i)].shape, q = problem.inputs[kQ].shape;
    own.pop_back();
    q.pop_back();
    if (own != q) return "the number of keys is not that of the queries";
  }
  return "";
}

Result<CpuTimer::Input> CpuTimer::weight(const ConfigProblem& problem, int index) const {
  const ir::TensorType& type = problem.problem.inputs[static_cast<size_t>(index)];
  Input out{{}, ir::const_values(type.shape), type.dtype};
  TENON_ASSIGN(Tensor first, random_floats(type.dtype, out.shape));
  if (problem.kernel->packed_type(problem.problem, index)) {
    TENON_ASSIGN(first, problem.kernel->prepack(problem.problem, index, first));
  }
  const size_t copies = first.bytes() == 0 ? 1 : std::max<size_t>(1, kWeightRotation / first.bytes());
  out.sets.push_back(std::move(first));
  constexpr size_t kLarge = size_t{1} << 16;  // smaller ones stay in the cache in a model too
  while (out.sets.front().bytes() >= kLarge && out.sets.size() < copies) {
    std::byte* bytes = nullptr;
    TENON_ASSIGN(Tensor copy, Tensor::allocate(out.sets[0].dtype(), out.sets[0].shape(), &bytes));
    std::memcpy(bytes, out.sets[0].data(), out.sets[0].bytes());
    out.sets.push_back(std::move(copy));
  }
  return out;
}

Result<std::vector<std::string>> CpuTimer::prepare(const ConfigProblem& problem, int64_t rows,
                                                   std::span<const Config> configs) {
  const Problem& p = problem.problem;
  const Texts texts(rows);
  std::vector<Input> before = std::move(inputs_);
  inputs_.clear();
  outputs_.clear();
  launchers_.clear();
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    Input& made = inputs_.emplace_back();
    if (!p.present[i]) continue;
    if (p.constant[i]) {
      // The sizes of one problem come one after another; its weights serve them all.
      if (weights_of_ == &problem) {
        made = std::move(before[i]);
      } else {
        TENON_ASSIGN(made, weight(problem, static_cast<int>(i)));
      }
      continue;
    }
    const bool attention = p.op == Op::k_attention;
    const std::vector<int64_t> flat = {rows,
                                       p.inputs[i].shape.back().is_const() ? p.inputs[i].shape.back().value() : 1};
    TENON_ASSIGN(Tensor one,
                 attention ? attention_input(p, static_cast<int>(i), texts) : random_floats(p.inputs[i].dtype, flat));
    made = {{one}, one.shape(), one.dtype()};
  }
  weights_of_ = &problem;
  for (const ir::TensorType& type : p.outputs) {
    TENON_ASSIGN(Tensor made, output(p, type, texts));
    outputs_.push_back(std::move(made));
  }
  std::vector<std::string> reasons;
  size_t scratch = 0;
  for (const Config& config : configs) {
    std::string& reason = reasons.emplace_back();
    auto& launcher = launchers_.emplace_back();
    auto made = problem.kernel->prepare(p, config);
    if (!made.ok()) {
      reason = made.status().message();
      continue;
    }
    const size_t needed = (*made)->workspace(arguments(nullptr), pool_.threads());
    if (machine_.workspace_limit > 0 && needed > machine_.workspace_limit) {
      reason = fmt::format("needs {} bytes of workspace, the limit is {}", needed, machine_.workspace_limit);
      continue;
    }
    scratch = std::max(scratch, needed);
    launcher = std::move(*made);
  }
  const size_t bytes = (scratch + kLineBytes - 1) / kLineBytes * kLineBytes + kLineBytes;
  workspace_ = {static_cast<std::byte*>(std::aligned_alloc(kLineBytes, bytes)), std::free};
  if (workspace_ == nullptr) return error(ErrorCode::kOutOfMemory, "no {} bytes to time kernels in", bytes);
  for (size_t i = 0; i < configs.size(); ++i) {
    if (launchers_[i] == nullptr) continue;
    const auto warm = seconds(i);
    if (!warm.ok()) return warm.status().with_context(fmt::format("{} {}", problem.kernel->id(), configs[i].text));
  }
  return reasons;
}

ops::RunArgs CpuTimer::arguments(std::byte* workspace) {
  in_.clear();
  out_.clear();
  for (const Input& input : inputs_) {
    if (input.sets.empty()) {
      in_.emplace_back();
      continue;
    }
    const Tensor& set = input.sets[launched_ % input.sets.size()];
    in_.push_back({input.dtype, input.shape, const_cast<std::byte*>(set.data())});
  }
  for (const Tensor& t : outputs_) out_.push_back({t.dtype(), t.shape(), const_cast<std::byte*>(t.data())});
  return {.inputs = in_, .outputs = out_, .sizes = {}, .workspace = workspace, .pool = &pool_};
}

Result<double> CpuTimer::seconds(size_t index) {
  using Clock = std::chrono::steady_clock;
  double all = 0, least = 0;
  for (int launches = 0; launches < kSampleLaunches || all < kSampleSeconds; ++launches) {
    const ops::RunArgs args = arguments(workspace_.get());
    const auto begin = Clock::now();
    TENON_TRY(launchers_[index]->launch(args));
    const double one = std::chrono::duration<double>(Clock::now() - begin).count();
    least = launches == 0 ? one : std::min(least, one);
    all += one;
    ++launched_;
  }
  return least;
}

}  // namespace tenon::plan
