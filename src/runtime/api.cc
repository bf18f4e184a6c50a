// The public classes of tenon/runtime.h over Executable and Context; errors become exceptions here.
#include "ops/plugin_host.h"
#include "runtime/context.h"

namespace tenon {
namespace {

TensorInfo describe(const std::string& name, const ir::TensorType& type) {
  TensorInfo info{.name = name, .dtype = type.dtype, .shape = {}, .axes = {}, .role = {}, .limit = 0, .optional = false};
  for (const ir::Dim& d : type.shape) {
    info.shape.push_back(d.is_const() ? d.value() : -1);
    info.axes.push_back(d.to_string());
  }
  return info;
}

}  // namespace

Engine::Engine(std::shared_ptr<const runtime::Executable> impl) : impl_(std::move(impl)) {}

Engine Engine::load(const std::string& path, const RuntimeOptions& options) { return Runtime(options).load_engine(path); }

std::vector<TensorInfo> Engine::inputs() const {
  std::vector<TensorInfo> all;
  for (const engine::PlanInput& in : impl_->plan().inputs) {
    TensorInfo info = describe(in.name, in.type);
    info.role = in.role;
    info.limit = in.limit;
    info.optional = runtime::has_default(in);
    all.push_back(std::move(info));
  }
  return all;
}

std::vector<TensorInfo> Engine::outputs() const {
  std::vector<TensorInfo> all;
  for (const engine::PlanOutput& out : impl_->plan().outputs) all.push_back(describe(out.name, impl_->plan().values[static_cast<size_t>(out.value)].type));
  return all;
}

std::vector<ProfileInfo> Engine::profiles() const {
  std::vector<ProfileInfo> all;
  for (const engine::Profile& p : impl_->plan().profiles) {
    ProfileInfo& info = all.emplace_back();
    for (const auto& r : p.ranges) info.ranges.push_back({r.input, r.min, r.opt, r.max});
  }
  return all;
}

std::vector<std::string> Engine::value_names() const {
  std::vector<std::string> names;
  for (const engine::PlanValue& v : impl_->plan().values)
    if (v.kind == engine::PlanValue::Kind::kTemporary) names.push_back(v.name);
  return names;
}

std::vector<std::string> Engine::targets() const {
  std::vector<std::string> all;
  for (const engine::Plan& plan : impl_->file().plans()) all.push_back(plan.target);
  return all;
}

const std::string& Engine::target() const { return impl_->plan().target; }

ExecutionContext Engine::create_execution_context(const ContextOptions& options) const {
  return ExecutionContext(value_or_throw(runtime::Context::create(impl_, options)));
}

Runtime::Runtime(const RuntimeOptions& options) : pool_(runtime::Executable::make_pool(options.threads)), target_(options.target) {
  throw_if_error(ops::load_plugin_libraries(options.plugins));
}
Runtime::~Runtime() = default;
Engine Runtime::load_engine(const std::string& path) const { return Engine(value_or_throw(runtime::Executable::load(path, pool_, target_))); }
int Runtime::threads() const { return pool_->threads(); }

ExecutionContext::ExecutionContext(std::unique_ptr<runtime::Context> impl) : impl_(std::move(impl)) {}
ExecutionContext::ExecutionContext(ExecutionContext&&) noexcept = default;
ExecutionContext& ExecutionContext::operator=(ExecutionContext&&) noexcept = default;
ExecutionContext::~ExecutionContext() = default;

void ExecutionContext::set_input(std::string_view name, const TensorView& tensor) { throw_if_error(impl_->inputs().set(name, tensor)); }
void ExecutionContext::set_packed_input(std::string_view name, const TensorView& tensor) { throw_if_error(impl_->inputs().set_packed(name, tensor)); }
void ExecutionContext::set_row_offsets(std::span<const int32_t> row_offsets) { throw_if_error(impl_->inputs().set_row_offsets(row_offsets)); }
void ExecutionContext::clear_inputs() { impl_->inputs().clear(); }
void ExecutionContext::set_output(std::string_view name, const TensorView& buffer) { throw_if_error(impl_->set_output(name, buffer)); }
void ExecutionContext::execute() { throw_if_error(impl_->run()); }
TensorView ExecutionContext::output(std::string_view name) const { return value_or_throw(impl_->output(name)); }
TensorView ExecutionContext::packed_output(std::string_view name) { return value_or_throw(impl_->packed_output(name)); }
TensorView ExecutionContext::kept(std::string_view name) const { return value_or_throw(impl_->kept(name)); }
void ExecutionContext::set_profiler(Profiler* profiler) { impl_->set_profiler(profiler); }
int ExecutionContext::graphs_recorded() const { return impl_->graphs_recorded(); }
size_t ExecutionContext::arena_bytes() const { return impl_->arena_bytes(); }

}  // namespace tenon
