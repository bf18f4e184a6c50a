#include "tasks/batch_runner.h"

#include <algorithm>
#include <cstdlib>

#include "runtime/choose_plan.h"
#include "runtime/executable.h"

namespace tenon::tasks {
namespace {

constexpr int kUnlimited = 1 << 20;

// From so many tokens on throughput rises little (docs/benchmarks.md).
constexpr size_t kTokensOfCpu = 4096, kTokensOfGpu = 16384;

// The longest text that the model's positions and its training allow; 0: not stated.
int position_limit(const std::map<std::string, std::string>& properties) {
  int least = 0;
  for (const char* name : {"max_seq_length", "max_tokens"}) {
    const auto it = properties.find(name);
    const int limit = it == properties.end() ? 0 : std::atoi(it->second.c_str());
    if (limit > 0) least = least > 0 ? std::min(least, limit) : limit;
  }
  return least;
}

ContextOptions context_options(const TextOptions& options) {
  ContextOptions result;
  result.strict = options.strict;
  return result;
}

}  // namespace

BatchRunner::BatchRunner(Engine engine, const TextOptions& options)
    : engine_(std::move(engine)), context_(engine_.create_execution_context(context_options(options))) {
  const engine::EngineFile& file = engine_.executable()->file();
  if (file.tokenizer().empty()) {
    throw Error(ErrorCode::kInvalidArgument, file.name() + ": the engine carries no tokenizer; build it with --tokenizer FOLDER, or give it token ids");
  }
  tokenizer_ = value_or_throw(text::Tokenizer::deserialize(file.tokenizer()));
  const size_t usual = runtime::is_for_gpu(engine_.executable()->plan()) ? kTokensOfGpu : kTokensOfCpu;
  batch_tokens_ = options.batch_tokens > 0 ? static_cast<size_t>(options.batch_tokens) : usual;
  max_length_ = kUnlimited;
  for (const int limit : {options.max_length, position_limit(file.metadata().properties), tokenizer_->model_max_length()})
    if (limit > 0) max_length_ = std::min(max_length_, limit);
  // An engine of one length takes no other.
  for (const TensorInfo& in : engine_.inputs())
    if (in.role == "input_ids" && in.shape.size() == 2 && in.shape[1] > 0) max_length_ = std::min(max_length_, static_cast<int>(in.shape[1]));
}

bool BatchRunner::has_input(const std::string& name) const {
  const auto inputs = engine_.inputs();
  return std::any_of(inputs.begin(), inputs.end(), [&](const TensorInfo& i) { return i.name == name; });
}

void BatchRunner::run(const std::vector<Encoding>& rows, const std::function<void(size_t, const std::vector<BatchOutput>&)>& take,
                      const std::string& extra_name, const ExtraInput& extra) {
  const std::vector<TensorInfo> inputs = engine_.inputs();
  int64_t fixed_batch = -1, fixed_seq = -1;
  for (const TensorInfo& in : inputs) {
    if (in.role != "input_ids" || in.shape.size() != 2) continue;
    fixed_batch = in.shape[0];
    fixed_seq = in.shape[1];
  }
  for (size_t first = 0; first < rows.size();) {
    size_t count = 0;
    size_t tokens = 0, longest = 1;
    while (first + count < rows.size() && (count == 0 || tokens + rows[first + count].size() <= batch_tokens_)) {
      if (fixed_batch > 0 && count == static_cast<size_t>(fixed_batch)) break;
      tokens += rows[first + count].size();
      longest = std::max(longest, rows[first + count].size());
      ++count;
    }
    const auto batch = fixed_batch > 0 ? fixed_batch : static_cast<int64_t>(count);
    const auto seq = fixed_seq > 0 ? fixed_seq : static_cast<int64_t>(longest);

    // Padding never reaches the model where the engine packs tokens; where it does not, the mask hides it.
    const auto size = static_cast<size_t>(batch * seq);
    std::vector<int64_t> ids(size, std::max(0, tokenizer_->pad_id())), types(size, 0), mask(size, 0), positions(size, 0);
    for (size_t r = 0; r < count; ++r) {
      const Encoding& row = rows[first + r];
      for (size_t t = 0; t < std::min(row.size(), static_cast<size_t>(seq)); ++t) {
        const size_t at = r * static_cast<size_t>(seq) + t;
        ids[at] = row.ids[t];
        types[at] = row.type_ids[t];
        mask[at] = row.attention_mask[t];
        positions[at] = static_cast<int64_t>(t);
      }
    }
    const std::vector<int64_t> shape{batch, seq};
    std::vector<std::unique_ptr<std::vector<char>>> converted;
    const auto set = [&](const TensorInfo& in, std::vector<int64_t>& values) {
      if (in.dtype == DType::kI64 || in.dtype == DType::kI32) {
        context_.set_input(in.name, {DType::kI64, shape, values.data()});
        return;
      }
      // Masks of other types: float and bool.
      auto bytes = std::make_unique<std::vector<char>>(size * dtype_size(in.dtype));
      for (size_t i = 0; i < size; ++i) {
        if (in.dtype == DType::kF32) reinterpret_cast<float*>(bytes->data())[i] = static_cast<float>(values[i]);
        if (in.dtype == DType::kBool) (*bytes)[i] = values[i] != 0;
      }
      context_.set_input(in.name, {in.dtype, shape, bytes->data()});
      converted.push_back(std::move(bytes));
    };
    for (const TensorInfo& in : inputs) {
      if (in.role == "input_ids") set(in, ids);
      if (in.role == "token_type_ids") set(in, types);
      if (in.role == "attention_mask") set(in, mask);
      if (in.role == "position_ids") set(in, positions);
    }
    std::vector<int64_t> extra_values;
    if (!extra_name.empty()) {
      int64_t columns = 0;
      extra_values = extra(first, count, columns);
      context_.set_input(extra_name, {DType::kI64, {batch, columns}, extra_values.data()});
    }
    context_.execute();

    std::vector<BatchOutput> outputs;
    for (const TensorInfo& out : engine_.outputs()) {
      const TensorView view = context_.output(out.name);
      if (view.dtype != DType::kF32) continue;
      BatchOutput o{out.name, view.shape, static_cast<const float*>(view.data)};
      if (!o.shape.empty()) o.shape[0] = static_cast<int64_t>(count);
      outputs.push_back(std::move(o));
    }
    take(first, outputs);
    first += count;
  }
}

}  // namespace tenon::tasks
