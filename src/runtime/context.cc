#include "runtime/context.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/checked.h"

namespace tenon::runtime {
namespace {

// More bytes than any tensor has: sums over a plan cannot overflow.
constexpr int64_t kMaxTensorBytes = int64_t{1} << 44;

size_t physical_memory() { return static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

// The token bucket that `n` falls into: buckets are about an eighth apart, powers of two among them.
int64_t bucket(int64_t n) {
  int64_t step = 16;
  while (n > step * 16) step *= 2;
  return (n + step - 1) / step * step;
}

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
  context->resolve_roots(kept);
  context->make_regions(kept);
  context->lay_out_arguments();
  return context;
}

Context::Context(std::shared_ptr<const Executable> executable, const ContextOptions& options)
    : executable_(std::move(executable)),
      memory_limit_(options.memory_limit != 0 ? options.memory_limit : physical_memory()),
      inputs_(*executable_, options.strict, executable_->plan().profiles.empty() ? -1 : options.profile, memory_limit_) {
  symbols_.assign(plan().symbols.size(), 0);
  roomy_symbols_ = symbols_;
  sizes_ = executable_->shapes().initial();
  bytes_.assign(plan().values.size(), 0);
  data_.assign(plan().values.size(), nullptr);
  workspace_.assign(plan().steps.size(), nullptr);
  output_buffers_.resize(plan().outputs.size());
  packed_outputs_.resize(plan().outputs.size());
  for (size_t v = 0; v < plan().values.size(); ++v) {
    const engine::PlanValue& pv = plan().values[v];
    if (pv.kind == engine::PlanValue::Kind::kWeight) data_[v] = const_cast<std::byte*>(executable_->file().weight(pv.source));
  }
}

// Whose memory each value lies in. Steps overwrite nothing when values are to be kept: what they overwrite might be kept.
void Context::resolve_roots(const std::vector<int>& kept) {
  is_kept_.assign(plan().values.size(), false);
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
  }
  for (const auto& out : plan().outputs) {
    live_at(out.value, end);
    live_at(out.packed_value, end);
  }
  live_at(plan().row_offsets_value, end);
  for (const auto& s : plan().symbols) live_at(s.value, end);
  for (int v : kept) live_at(v, end);

  size_t most_items = 0;
  for (size_t r = 0; r < plan().regions.size(); ++r) {
    std::vector<int> roots;
    std::vector<ArenaItem> items;
    for (int v : executable_->values_of(static_cast<int>(r))) {
      const bool own = value(v).kind == engine::PlanValue::Kind::kTemporary && root_[static_cast<size_t>(v)] == v;
      if (!own) continue;
      roots.push_back(v);
      items.push_back(live[static_cast<size_t>(v)]);
    }
    for (int step = plan().regions[r].begin; step < plan().regions[r].end; ++step) items.push_back({step, step});
    most_items = std::max(most_items, items.size());
    regions_.push_back({std::move(roots), Arena(std::move(items))});
  }
  item_bytes_.reserve(most_items);
  roomy_bytes_.reserve(most_items);
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
      attr_sizes_[slots.attr_sizes + j] = {slots.attrs[j].name, {sizes_.data() + slots.attrs[j].begin, slots.attrs[j].count}};
    }
  }
}

Status Context::set_output(std::string_view name, const TensorView& buffer) {
  const int index = executable_->find_output(name);
  if (index < 0) return error(ErrorCode::kNotFound, "the engine has no output \"{}\"", name);
  const DType dtype = value(plan().outputs[static_cast<size_t>(index)].value).type.dtype;
  if (buffer.data != nullptr && buffer.dtype != dtype) return error(ErrorCode::kBadInput, "output \"{}\" is {}, the buffer {}", name, dtype_name(dtype), dtype_name(buffer.dtype));
  output_buffers_[static_cast<size_t>(index)] = buffer;
  return {};
}

Status Context::run() {
  done_ = false;
  TENON_TRY(inputs_.bind(symbols_));
  for (size_t i = 0; i < plan().inputs.size(); ++i) data_[i] = inputs_.data(static_cast<int>(i));
  for (int r = 0; r < static_cast<int>(regions_.size()); ++r) TENON_TRY(run_region(r));
  TENON_TRY(copy_outputs());
  done_ = true;
  return {};
}

Status Context::run_region(int region) {
  TENON_TRY(bind_data_symbols(region));
  TENON_TRY(evaluate(region, symbols_));
  TENON_TRY(executable_->check_equalities(region, symbols_));
  TENON_TRY(place(region));
  const int64_t tokens = executable_->tokens(region, symbols_);
  const engine::PlanRegion& steps = plan().regions[static_cast<size_t>(region)];
  for (int step = steps.begin; step < steps.end; ++step) {
    if (Status s = launch(step, tokens); !s.ok()) return s.with_context(engine::describe_step(plan(), step));
  }
  return {};
}

// Symbols whose values the regions before this one have computed.
Status Context::bind_data_symbols(int region) {
  for (size_t s = 0; s < symbols_.size(); ++s) {
    const engine::PlanSymbol& symbol = plan().symbols[s];
    if (symbol.input >= 0 || executable_->file().facts().symbol_region[s] != region) continue;
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
          .pool = &executable_->pool()};
}

const PreparedKernel& Context::choose(int step, int64_t tokens) const {
  const auto all = executable_->kernels(step);
  const auto it = std::find_if(all.begin(), all.end(), [&](const PreparedKernel& k) { return k.max_tokens == 0 || tokens <= k.max_tokens; });
  return it == all.end() ? all.back() : *it;
}

// Bytes of the region's arena items for the sizes evaluated last.
void Context::measure_items(int region) {
  const Region& r = regions_[static_cast<size_t>(region)];
  const engine::PlanRegion& steps = plan().regions[static_cast<size_t>(region)];
  const int64_t tokens = executable_->tokens(region, symbols_);
  item_bytes_.clear();
  for (int v : r.roots) item_bytes_.push_back(bytes_[static_cast<size_t>(v)]);
  for (int step = steps.begin; step < steps.end; ++step) {
    const StepSlots& slots = executable_->slots(step);
    for (size_t i = slots.inputs; i < slots.outputs + plan().steps[static_cast<size_t>(step)].outputs.size(); ++i) args_[i].data = nullptr;
    item_bytes_.push_back(choose(step, tokens).launcher->workspace(arguments(step), executable_->pool().threads()));
  }
}

// Memory for the region's values: a layout that is large enough, or a new one for the next token bucket.
Status Context::place(int region) {
  Region& r = regions_[static_cast<size_t>(region)];
  measure_items(region);
  const Layout* layout = r.arena.find(item_bytes_);
  if (layout == nullptr) {
    roomy_bytes_ = item_bytes_;
    roomy_symbols_ = symbols_;
    for (size_t s = 0; s < symbols_.size(); ++s) {
      if (plan().symbols[s].input < 0) roomy_symbols_[s] = std::min(bucket(symbols_[s]), executable_->symbol_bound(static_cast<int>(s), symbols_));
    }
    // Sizes that cannot be evaluated at the bucket's bound are left as they are for this very run.
    if (roomy_symbols_ != symbols_ && evaluate(region, roomy_symbols_).ok()) {
      measure_items(region);
      for (size_t i = 0; i < item_bytes_.size(); ++i) roomy_bytes_[i] = std::max(roomy_bytes_[i], item_bytes_[i]);
    }
    TENON_TRY(evaluate(region, symbols_));
    TENON_ASSIGN(layout, r.arena.add(roomy_bytes_, memory_limit_));
  }
  point_arguments(region, *layout);
  return {};
}

void Context::point_arguments(int region, const Layout& layout) {
  const Region& r = regions_[static_cast<size_t>(region)];
  const engine::PlanRegion& steps = plan().regions[static_cast<size_t>(region)];
  for (size_t i = 0; i < r.roots.size(); ++i) data_[static_cast<size_t>(r.roots[i])] = r.arena.data() + layout.offsets[i];
  for (int v : executable_->values_of(region)) data_[static_cast<size_t>(v)] = data_[static_cast<size_t>(root_[static_cast<size_t>(v)])];
  for (int step = steps.begin; step < steps.end; ++step) {
    const size_t item = r.roots.size() + static_cast<size_t>(step - steps.begin);
    workspace_[static_cast<size_t>(step)] = r.arena.data() + layout.offsets[item];
    const StepSlots& slots = executable_->slots(step);
    const engine::PlanStep& s = plan().steps[static_cast<size_t>(step)];
    for (size_t i = 0; i < s.inputs.size(); ++i)
      if (s.inputs[i] >= 0) args_[slots.inputs + i].data = data_[static_cast<size_t>(s.inputs[i])];
    for (size_t i = 0; i < s.outputs.size(); ++i) args_[slots.outputs + i].data = data_[static_cast<size_t>(s.outputs[i])];
  }
}

Status Context::launch(int step, int64_t tokens) {
  const PreparedKernel& kernel = choose(step, tokens);
  if (profiler_ == nullptr) return kernel.launcher->launch(arguments(step));
  const auto begin = std::chrono::steady_clock::now();
  TENON_TRY(kernel.launcher->launch(arguments(step)));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const engine::PlanStep& s = plan().steps[static_cast<size_t>(step)];
  profiler_->step(s.outputs.empty() ? std::string_view() : value(s.outputs[0]).name, kernel.kernel->id(), seconds.count());
  return {};
}

Status Context::copy_outputs() {
  for (size_t i = 0; i < output_buffers_.size(); ++i) {
    const TensorView& buffer = output_buffers_[i];
    if (buffer.data == nullptr) continue;
    const int v = plan().outputs[i].value;
    if (!std::ranges::equal(buffer.shape, shape(v))) {
      return error(ErrorCode::kBadInput, "the buffer for output \"{}\" does not have its shape {}", plan().outputs[i].name, ir::to_string(value(v).type.shape));
    }
    if (bytes_[static_cast<size_t>(v)] > 0) std::memcpy(buffer.data, data_[static_cast<size_t>(v)], bytes_[static_cast<size_t>(v)]);
  }
  return {};
}

TensorView Context::view(int id) const { return {value(id).type.dtype, {shape(id).begin(), shape(id).end()}, data_[static_cast<size_t>(id)]}; }

Result<TensorView> Context::output(std::string_view name) const {
  const int index = executable_->find_output(name);
  if (index < 0) return error(ErrorCode::kNotFound, "the engine has no output \"{}\"", name);
  if (!done_) return error(ErrorCode::kInvalidArgument, "output \"{}\" is read before a run has succeeded", name);
  return view(plan().outputs[static_cast<size_t>(index)].value);
}

Result<TensorView> Context::packed_output(std::string_view name) {
  TENON_ASSIGN(const TensorView padded, output(name));
  const auto offsets = inputs_.row_offsets();
  const auto index = static_cast<size_t>(executable_->find_output(name));
  const int input = inputs_.packed_input();
  if (input < 0 || offsets.empty()) return error(ErrorCode::kInvalidArgument, "packed outputs need packed inputs");
  const ir::Shape& axes = plan().inputs[static_cast<size_t>(input)].type.shape;  // [batch, seq, …]
  const ir::Shape& declared = value(plan().outputs[index].value).type.shape;
  if (declared.size() < 2 || declared[0] != axes[0] || declared[1] != axes[1]) {
    return error(ErrorCode::kInvalidArgument, "output \"{}\" {} has no rows per token", name, ir::to_string(declared));
  }
  const int64_t seq = padded.shape[1];
  TensorView packed{padded.dtype, {padded.shape.begin() + 1, padded.shape.end()}, nullptr};
  packed.shape[0] = offsets.back();
  // The rows before they were unpacked, unless the engine kept others besides.
  const int rows = plan().outputs[index].packed_value, own = plan().row_offsets_value;
  if (rows >= 0 && std::ranges::equal(std::span(static_cast<const int32_t*>(data_[static_cast<size_t>(own)]), static_cast<size_t>(shape(own)[0])), offsets)) {
    packed.data = data_[static_cast<size_t>(rows)];
    return packed;
  }
  size_t row_bytes = dtype_size(padded.dtype);
  for (size_t axis = 2; axis < padded.shape.size(); ++axis) row_bytes *= static_cast<size_t>(padded.shape[axis]);
  Buffer& buffer = packed_outputs_[index];
  TENON_TRY(buffer.reserve(row_bytes * static_cast<size_t>(offsets.back()), memory_limit_));
  for (size_t b = 0; b + 1 < offsets.size(); ++b) {
    const auto begin = static_cast<size_t>(offsets[b]), count = static_cast<size_t>(offsets[b + 1] - offsets[b]);
    std::memcpy(buffer.data() + begin * row_bytes, static_cast<const std::byte*>(padded.data) + b * static_cast<size_t>(seq) * row_bytes, count * row_bytes);
  }
  packed.data = buffer.data();
  return packed;
}

Result<TensorView> Context::kept(std::string_view name) const {
  const int v = executable_->find_value(name);
  const bool is_kept = v >= 0 && is_kept_[static_cast<size_t>(v)];
  if (!is_kept) return error(ErrorCode::kNotFound, "the context does not keep a value \"{}\"", name);
  if (!done_) return error(ErrorCode::kInvalidArgument, "value \"{}\" is read before a run has succeeded", name);
  return view(v);
}

size_t Context::arena_bytes() const {
  size_t total = 0;
  for (const Region& r : regions_) total += r.arena.bytes();
  return total;
}

}  // namespace tenon::runtime
