#include "runtime/context.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <set>

#include "base/checked.h"
#include "base/env.h"
#include "runtime/buckets.h"
#include "runtime/nvtx.h"

namespace tenon::runtime {
namespace {

// More bytes than any tensor has: sums over a plan cannot overflow.
constexpr int64_t kMaxTensorBytes = int64_t{1} << 44;

size_t physical_memory() { return static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

Result<std::unique_ptr<Context>> Context::create(std::shared_ptr<const Executable> executable, const ContextOptions& options) {
  const int profiles = static_cast<int>(executable->plan().profiles.size());
  if (options.profile >= std::max(profiles, 1)) return error(ErrorCode::kInvalidArgument, "the engine has {} profiles, there is no profile {}", profiles, options.profile);
  std::vector<int> kept;
  for (const std::string& name : options.keep) {
    kept.push_back(executable->find_value(name));
    if (kept.back() < 0) return error(ErrorCode::kNotFound, "the engine has no value \"{}\" to keep", name);
  }
  std::unique_ptr<Context> context(new Context(std::move(executable), options));
  if (const GpuProgram* gpu = context->executable_->gpu()) {
    TENON_ASSIGN(context->queue_, GpuQueue::create(gpu->device()));
    for (size_t i = 0; i < context->plan().inputs.size(); ++i) {
      context->staged_inputs_.emplace_back(Memory::kPageLocked, &gpu->device());
      context->fetched_inputs_.emplace_back(Memory::kPageLocked, &gpu->device());
    }
    context->find_inputs_of_device();
    const engine::Plan& plan = context->plan();
    if (plan.row_offsets_value >= 0 && plan.tokens.is_symbol()) context->packed_rows_ = context->executable_->symbol_index(plan.tokens.to_string());
  }
  context->find_steps_of_one_thread();
  context->find_unneeded_downloads(options.outputs_on_device);
  context->resolve_roots(kept);
  context->make_regions(kept);
  context->lay_out_arguments();
  context->name_steps();
  context->warm_up(options);
  return context;
}

Context::Context(std::shared_ptr<const Executable> executable, const ContextOptions& options)
    : executable_(std::move(executable)),
      memory_limit_(options.memory_limit != 0 ? options.memory_limit : physical_memory()),
      inputs_(*executable_, options.strict, executable_->plan().profiles.empty() ? -1 : options.profile, memory_limit_) {
  symbols_.assign(plan().symbols.size(), 0);
  roomy_symbols_ = symbols_;
  sizes_ = device_sizes_ = executable_->shapes().initial();
  bytes_.assign(plan().values.size(), 0);
  data_.assign(plan().values.size(), nullptr);
  workspace_.assign(plan().steps.size(), nullptr);
  output_buffers_.resize(plan().outputs.size());
  packed_outputs_.resize(plan().outputs.size());
  for (size_t v = 0; v < plan().values.size(); ++v) {
    const engine::PlanValue& pv = plan().values[v];
    if (pv.kind != engine::PlanValue::Kind::kWeight) continue;
    const bool on_device = pv.place == engine::Place::kDevice;
    data_[v] = on_device ? executable_->gpu()->weight(pv.source) : const_cast<std::byte*>(executable_->file().weight(plan().weights[static_cast<size_t>(pv.source)]));
  }
}

// Beside a GPU the pool sleeps: waking it costs more than what ids and masks need.
void Context::find_steps_of_one_thread() {
  for (const engine::PlanStep& step : plan().steps) {
    const auto is_float_value = [&](int v) { return is_float(value(v).type.dtype); };
    alone_.push_back(queue_ != nullptr && std::ranges::none_of(step.outputs, is_float_value));
  }
}

void Context::name_steps() {
  const std::string shown = env("TENON_NVTX");
  if (shown == "off" || nvtx() == nullptr) return;
  replays_graphs_ = shown == "graphs";
  for (const engine::PlanStep& step : plan().steps) {
    std::string& name = step_names_.emplace_back(fmt::format("{} {}", ir::op_name(step.op), step.outputs.empty() ? "" : value(step.outputs[0]).name));
    if (!step.origin.empty()) name += " (" + step.origin + ")";
  }
}

// Whose memory each value lies in. Steps overwrite nothing when values are to be kept: what they overwrite might be kept.
void Context::resolve_roots(const std::vector<int>& kept) {
  is_kept_.assign(plan().values.size(), false);
  keeps_values_ = !kept.empty();
  root_.resize(plan().values.size());
  for (size_t v = 0; v < root_.size(); ++v) {
    const engine::PlanValue& pv = plan().values[v];
    const bool shares = pv.alias_of >= 0 && (kept.empty() || !pv.in_place);
    root_[v] = shares ? root_[static_cast<size_t>(pv.alias_of)] : static_cast<int>(v);
  }
  for (int v : kept) is_kept_[static_cast<size_t>(v)] = true;
}

void Context::make_regions(const std::vector<int>& kept) {
  // Live ranges as engine::compute_live_ranges has them, but over this context's roots.
  const int end = static_cast<int>(plan().steps.size());
  std::vector<ArenaItem> live(plan().values.size(), {-1, -1});
  const auto live_at = [&](int v, int step) {
    if (v < 0) return;
    ArenaItem& item = live[static_cast<size_t>(root_[static_cast<size_t>(v)])];
    if (item.first < 0) item.first = step;
    item.last = std::max(item.last, step);
  };
  for (int i = 0; i < end; ++i) {
    for (int v : plan().steps[static_cast<size_t>(i)].inputs) live_at(v, i);
    for (int v : plan().steps[static_cast<size_t>(i)].outputs) live_at(v, i);
    if (!engine::absorbs_previous(plan().steps[static_cast<size_t>(i)])) continue;
    for (int v : plan().steps[static_cast<size_t>(i) - 1].inputs) live_at(v, i);
  }
  for (const auto& out : plan().outputs) {
    live_at(out.value, end);
    live_at(out.packed_value, end);
  }
  live_at(plan().row_offsets_value, end);
  for (const auto& s : plan().symbols) live_at(s.value, end);
  for (int v : output_values_) live_at(v, end);
  for (int v : kept) live_at(v, end);

  const cuda::Device* gpu = queue_ != nullptr ? &queue_->device() : nullptr;
  for (size_t r = 0; r < plan().regions.size(); ++r) {
    Region& region = regions_.emplace_back();
    for (const engine::Place place : {engine::Place::kHost, engine::Place::kDevice}) {
      const bool on_device = place == engine::Place::kDevice;
      if (on_device && gpu == nullptr) continue;
      std::vector<int> roots, steps;
      std::vector<ArenaItem> items;
      for (int v : executable_->values_of(static_cast<int>(r))) {
        const bool own = value(v).kind == engine::PlanValue::Kind::kTemporary && root_[static_cast<size_t>(v)] == v;
        if (!own || value(v).place != place) continue;
        roots.push_back(v);
        items.push_back(live[static_cast<size_t>(v)]);
      }
      for (int step = plan().regions[r].begin; step < plan().regions[r].end; ++step) {
        if (executable_->on_device(step) != on_device) continue;
        steps.push_back(step);
        items.push_back({step, step});
      }
      const Memory kind = on_device ? Memory::kDevice : gpu != nullptr ? Memory::kPageLocked : Memory::kHost;
      region.sides.push_back({std::move(roots), std::move(steps), Arena(std::move(items), kind, gpu), nullptr});
    }
  }
}

void Context::lay_out_arguments() {
  args_.resize(executable_->tensor_args());
  attr_sizes_.resize(executable_->sizes_args());
  for (size_t i = 0; i < plan().steps.size(); ++i) {
    const StepSlots& slots = executable_->slots(static_cast<int>(i));
    const auto describe = [&](size_t slot, int v) {
      if (v >= 0) args_[slot] = {value(v).type.dtype, shape(v), nullptr};
    };
    for (size_t j = 0; j < plan().steps[i].inputs.size(); ++j) describe(slots.inputs + j, plan().steps[i].inputs[j]);
    for (size_t j = 0; j < plan().steps[i].outputs.size(); ++j) describe(slots.outputs + j, plan().steps[i].outputs[j]);
    for (size_t j = 0; j < slots.attrs.size(); ++j) {
      const auto& own = sizes(executable_->on_device(static_cast<int>(i)) ? engine::Place::kDevice : engine::Place::kHost);
      attr_sizes_[slots.attr_sizes + j] = {slots.attrs[j].name, {own.data() + slots.attrs[j].begin, slots.attrs[j].count}};
    }
  }
}

Status Context::run() {
  const NvtxRange range(step_names_.empty() ? nullptr : "tenon run");
  done_ = false;
  TENON_TRY(fetch_inputs());
  TENON_TRY(inputs_.bind(symbols_));
  for (size_t i = 0; i < plan().inputs.size(); ++i) data_[i] = inputs_.data(static_cast<int>(i));
  if (queue_ != nullptr) TENON_TRY(stage_inputs());
  for (int r = 0; r < static_cast<int>(regions_.size()); ++r) TENON_TRY(run_region(r));
  TENON_TRY(copy_outputs());
  done_ = true;
  return {};
}

Status Context::run_region(int region) {
  TENON_TRY(bind_data_symbols(region));
  round_up_symbols(kGraphBuckets);
  // Steps that are left out would leave no values to keep.
  served_length_ = keeps_values_ ? 0 : executable_->served_length(symbols_, executable_->tokens(region, roomy_symbols_));
  TENON_TRY(size_region(region));
  point_arguments(region);
  const engine::PlanRegion& steps = plan().regions[static_cast<size_t>(region)];
  const int64_t tokens = executable_->tokens(region, symbols_);
  for (int begin = steps.begin, end = begin; begin < steps.end; begin = end) {
    const bool on_device = executable_->on_device(begin);
    while (end < steps.end && executable_->on_device(end) == on_device) ++end;
    if (on_device && profiler_ == nullptr) {
      TENON_TRY(run_on_gpu(region, begin, end, executable_->tokens(region, roomy_symbols_)));
      continue;
    }
    if (queue_ != nullptr) TENON_TRY(queue_->wait());
    TENON_TRY(run_steps(begin, end, on_device ? executable_->tokens(region, roomy_symbols_) : tokens));
  }
  return queue_ != nullptr ? queue_->wait() : Status();
}

// Nothing to do where the run before had the same sizes.
Status Context::size_region(int region) {
  Region& r = regions_[static_cast<size_t>(region)];
  if (r.sized && r.symbols == symbols_) return {};
  r.sized = false;
  TENON_TRY(evaluate(region, symbols_));
  TENON_TRY(executable_->check_equalities(region, symbols_));
  TENON_TRY(place(region));
  r.symbols = symbols_;
  r.sized = true;
  return {};
}

Status Context::run_steps(int begin, int end, int64_t tokens) {
  for (int step = begin; step < end; ++step) {
    if (skipped_[static_cast<size_t>(step)]) continue;
    if (step + 1 < end && choose(step + 1, tokens).absorbs) continue;
    if (Status s = launch(step, tokens); !s.ok()) return s.with_context(engine::describe_step(plan(), step));
  }
  return {};
}

// Symbols whose values the regions before this one have computed.
Status Context::bind_data_symbols(int region) {
  for (size_t s = 0; s < symbols_.size(); ++s) {
    const engine::PlanSymbol& symbol = plan().symbols[s];
    if (symbol.input >= 0 || executable_->facts().symbol_region[s] != region) continue;
    std::memcpy(&symbols_[s], data_[static_cast<size_t>(symbol.value)], sizeof(int64_t));
    const int64_t bound = executable_->symbol_bound(static_cast<int>(s), symbols_);
    if (symbols_[s] < 0 || symbols_[s] > bound) {
      return error(ErrorCode::kBadInput, "the data gives {} = {}, it must lie between 0 and {}", symbol.name, symbols_[s], bound);
    }
  }
  return {};
}

// Shapes and byte counts of a region's values.
Status Context::evaluate(int region, std::span<const int64_t> symbols) {
  TENON_TRY(executable_->shapes().evaluate(region, symbols, sizes_));
  if (queue_ != nullptr) TENON_TRY(executable_->shapes().evaluate(region, roomy_symbols_, device_sizes_));
  for (int v : executable_->values_of(region)) {
    const auto count = checked_numel(shape(v));
    const auto bytes = count ? checked_mul(*count, static_cast<int64_t>(dtype_size(value(v).type.dtype))) : std::nullopt;
    if (!bytes || *bytes > kMaxTensorBytes) {
      return error(ErrorCode::kBadInput, "these inputs make value %{} {} negative or too large", value(v).name, ir::to_string(value(v).type.shape));
    }
    bytes_[static_cast<size_t>(v)] = static_cast<size_t>(*bytes);
  }
  for (int v : executable_->values_of(region)) {
    const int root = root_[static_cast<size_t>(v)];
    if (bytes_[static_cast<size_t>(v)] == bytes_[static_cast<size_t>(root)]) continue;
    return error(ErrorCode::kBadInput, "%{} {} cannot be seen as {}: the numbers of elements differ", value(root).name,
                 ir::to_string(value(root).type.shape), ir::to_string(value(v).type.shape));
  }
  return {};
}

ops::RunArgs Context::arguments(int step) const {
  const StepSlots& slots = executable_->slots(step);
  const engine::PlanStep& s = plan().steps[static_cast<size_t>(step)];
  return {.inputs = {args_.data() + slots.inputs, s.inputs.size()},
          .outputs = {args_.data() + slots.outputs, s.outputs.size()},
          .sizes = {attr_sizes_.data() + slots.attr_sizes, slots.attrs.size()},
          .workspace = workspace_[static_cast<size_t>(step)],
          .pool = alone_[static_cast<size_t>(step)] ? nullptr : &executable_->pool(),
          .backwards = step % 2 != 0,
          .stream = queue_ != nullptr ? queue_->stream() : nullptr};
}

const PreparedKernel& Context::choose(int step, int64_t tokens) const {
  const auto all = executable_->kernels(step);
  const auto it = std::find_if(all.begin(), all.end(), [&](const PreparedKernel& k) {
    const bool short_enough = k.max_length == 0 || (served_length_ > 0 && served_length_ <= k.max_length);
    const bool leaves_out = k.absorbs && keeps_values_;  // a value that is to be kept, perhaps
    return short_enough && !leaves_out && (k.max_tokens == 0 || tokens <= k.max_tokens);
  });
  return it == all.end() ? all.back() : *it;
}

// Bytes of the region's arena items for the sizes evaluated last.
void Context::measure_items(int region, std::vector<std::vector<size_t>>& bytes) {
  const int64_t tokens = executable_->tokens(region, symbols_);
  const int64_t roomy_tokens = executable_->tokens(region, roomy_symbols_);
  const Region& r = regions_[static_cast<size_t>(region)];
  bytes.resize(r.sides.size());
  for (size_t i = 0; i < r.sides.size(); ++i) {
    bytes[i].clear();
    for (int v : r.sides[i].roots) bytes[i].push_back(bytes_[static_cast<size_t>(v)]);
    for (int step : r.sides[i].steps) {
      const StepSlots& slots = executable_->slots(step);
      for (size_t a = slots.inputs; a < slots.outputs + plan().steps[static_cast<size_t>(step)].outputs.size(); ++a) args_[a].data = nullptr;
      const PreparedKernel& kernel = choose(step, i == 0 ? tokens : roomy_tokens);
      bytes[i].push_back(kernel.launcher->workspace(arguments(step), executable_->pool().threads()));
    }
  }
}

// Sizes that depend on data at the upper end of their bucket. More rows than the inputs have make no sense but harm nobody on
// a GPU, where every shape of a bucket is then served by the same graph.
void Context::round_up_symbols(int64_t buckets) {
  roomy_symbols_ = symbols_;
  for (size_t s = 0; s < symbols_.size(); ++s) {
    if (plan().symbols[s].input >= 0) continue;
    const int64_t end = bucket_end(symbols_[s], buckets);
    roomy_symbols_[s] = static_cast<int>(s) == packed_rows_ ? end : std::min(end, executable_->symbol_bound(static_cast<int>(s), symbols_));
  }
}

// Memory for the region's values: a layout that is large enough, or a new one for the next token bucket.
Status Context::place(int region) {
  Region& r = regions_[static_cast<size_t>(region)];
  measure_items(region, item_bytes_);
  const auto fits = [&](const std::vector<std::vector<size_t>>& bytes) {
    bool all = true;
    for (size_t i = 0; i < r.sides.size(); ++i) all = (r.sides[i].layout = r.sides[i].arena.find(bytes[i])) != nullptr && all;
    return all;
  };
  // Copies move whole buckets, so beside a GPU the host's side needs their room in every run.
  if (queue_ != nullptr || !fits(item_bytes_)) {
    roomy_bytes_ = item_bytes_;
    // Sizes that cannot be evaluated at a bucket's bound are left smaller for this very run.
    for (const int64_t buckets : {kMemoryBuckets, kGraphBuckets}) {
      round_up_symbols(buckets);
      if (roomy_symbols_ == symbols_ || !evaluate(region, roomy_symbols_).ok()) continue;
      measure_items(region, roomy_bytes_);
      for (size_t i = 0; i < item_bytes_.size(); ++i) {
        for (size_t k = 0; k < item_bytes_[i].size(); ++k) roomy_bytes_[i][k] = std::max(roomy_bytes_[i][k], item_bytes_[i][k]);
      }
      break;
    }
    round_up_symbols(kGraphBuckets);
    TENON_TRY(evaluate(region, symbols_));
    if (queue_ == nullptr || !fits(roomy_bytes_)) {
      for (size_t i = 0; i < r.sides.size(); ++i) {
        TENON_ASSIGN(r.sides[i].layout, r.sides[i].arena.add(roomy_bytes_[i], memory_limit_));
      }
    }
  }
  return {};
}

void Context::point_arguments(int region) {
  const Region& r = regions_[static_cast<size_t>(region)];
  for (const Side& side : r.sides) {
    for (size_t i = 0; i < side.roots.size(); ++i) data_[static_cast<size_t>(side.roots[i])] = side.arena.data() + side.layout->offsets[i];
    for (size_t i = 0; i < side.steps.size(); ++i) {
      workspace_[static_cast<size_t>(side.steps[i])] = side.arena.data() + side.layout->offsets[side.roots.size() + i];
    }
  }
  point_uploads();
  for (int v : executable_->values_of(region)) data_[static_cast<size_t>(v)] = data_[static_cast<size_t>(root_[static_cast<size_t>(v)])];
  const engine::PlanRegion& steps = plan().regions[static_cast<size_t>(region)];
  for (int step = steps.begin; step < steps.end; ++step) {
    const StepSlots& slots = executable_->slots(step);
    const engine::PlanStep& s = plan().steps[static_cast<size_t>(step)];
    for (size_t i = 0; i < s.inputs.size(); ++i)
      if (s.inputs[i] >= 0) args_[slots.inputs + i].data = data_[static_cast<size_t>(s.inputs[i])];
    for (size_t i = 0; i < s.outputs.size(); ++i) args_[slots.outputs + i].data = data_[static_cast<size_t>(s.outputs[i])];
  }
}

Status Context::launch(int step, int64_t tokens) {
  const NvtxRange range(step_names_.empty() ? nullptr : step_names_[static_cast<size_t>(step)].c_str());
  const PreparedKernel& kernel = choose(step, tokens);
  ops::RunArgs args = arguments(step);
  if (kernel.absorbs) {  // arguments of neighbouring steps stand together
    const size_t begin = executable_->slots(step - 1).inputs;
    args.inputs = {args_.data() + begin, executable_->slots(step).outputs - begin};
  }
  return profiler_ == nullptr ? kernel.launcher->launch(args) : profile_step(step, kernel, args);
}

Status Context::profile_step(int step, const PreparedKernel& kernel, const ops::RunArgs& args) {
  double seconds = 0;
  if (kernel.kernel->on_device()) {
    TENON_ASSIGN(seconds, queue_->time_short([&] { return kernel.launcher->launch(args); }));
  } else {
    const auto begin = std::chrono::steady_clock::now();
    TENON_TRY(kernel.launcher->launch(args));
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  const engine::PlanStep& s = plan().steps[static_cast<size_t>(step)];
  profiler_->step(s.outputs.empty() ? std::string_view() : value(s.outputs[0]).name, kernel.kernel->id(), seconds);
  return {};
}

size_t Context::arena_bytes() const {
  size_t total = 0;
  for (const Region& r : regions_)
    for (const Side& side : r.sides) total += side.arena.bytes();
  return total;
}

}  // namespace tenon::runtime
