#include "runtime/executable.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/checked.h"
#include "base/env.h"
#include "kernels/cuda/cuda_kernel.h"
#include "ops/plugin_host.h"
#include "runtime/choose_plan.h"
#include "runtime/problem.h"

namespace tenon::runtime {
namespace {

int index_of_name(const auto& items, std::string_view name) {
  for (size_t i = 0; i < items.size(); ++i)
    if (items[i].name == name) return static_cast<int>(i);
  return -1;
}

// All that are missing at once, and how to give them.
Status check_plugins(const engine::Plan& plan) {
  std::string missing;
  for (const engine::PluginUse& use : engine::plugins_of(plan)) {
    const ops::PluginOperator* op = ops::find_plugin(use.name);
    if (op != nullptr && op->version == use.version) continue;
    missing += fmt::format("{}{} version {} of library {}", missing.empty() ? "" : ", ", use.name, use.version, use.library);
    if (op != nullptr) missing += fmt::format(" ({} has version {})", op->path, op->version);
  }
  if (missing.empty()) return {};
  return error(ErrorCode::kPlugin, "the engine needs plugins that are not loaded: {}. Give their libraries with --plugins LIB.so or RuntimeOptions::plugins", missing);
}

Result<GpuAtHand> gpu_at_hand() {
  TENON_ASSIGN(const cuda::Device* device, cuda::Device::open());
  return GpuAtHand{device->name(), device->compute_capability()};
}

}  // namespace

std::shared_ptr<ThreadPool> Executable::make_pool(int requested) {
  if (requested <= 0) {
    const std::string text = env("TENON_THREADS");
    std::from_chars(text.data(), text.data() + text.size(), requested);
  }
  return std::make_shared<ThreadPool>(std::clamp(requested, 0, 1024));
}

Result<std::shared_ptr<const Executable>> Executable::load(const std::string& path, std::shared_ptr<ThreadPool> pool, std::string_view target) {
  TENON_ASSIGN(auto file, engine::EngineFile::open(path, pool.get()));
  return prepare(std::move(file), std::move(pool), target);
}

Result<std::shared_ptr<const Executable>> Executable::prepare(std::shared_ptr<const engine::EngineFile> file, std::shared_ptr<ThreadPool> pool,
                                                                  std::string_view target) {
  std::shared_ptr<Executable> made(new Executable);
  made->file_ = std::move(file);
  made->pool_ = std::move(pool);
  const auto prepare_all = [&]() -> Status {
    TENON_ASSIGN(made->plan_, choose_plan(*made->file_, target, gpu_at_hand));
    made->said_ = std::vector<std::atomic<bool>>(made->plan().inputs.size());
    TENON_TRY(check_plugins(made->plan()));
    if (is_for_gpu(made->plan())) {
      TENON_ASSIGN(made->gpu_, GpuProgram::load(*made->file_, made->plan()));
    }
    TENON_TRY(made->prepare_shapes());
    return made->prepare_steps();
  };
  if (Status s = prepare_all(); !s.ok()) return s.with_context(made->file_->name());
  return std::shared_ptr<const Executable>(std::move(made));
}

int Executable::find_input(std::string_view name) const { return index_of_name(plan().inputs, name); }
int Executable::find_output(std::string_view name) const { return index_of_name(plan().outputs, name); }
int Executable::find_value(std::string_view name) const { return index_of_name(plan().values, name); }
int Executable::symbol_index(std::string_view name) const { return index_of_name(plan().symbols, name); }

Status Executable::prepare_shapes() {
  const auto index_of = [this](std::string_view name) { return symbol_index(name); };
  const engine::PlanFacts& facts = this->facts();
  shapes_ = std::make_unique<ShapeTable>(index_of, plan().regions.size());
  region_values_.resize(plan().regions.size());
  for (size_t v = 0; v < plan().values.size(); ++v) {
    const int region = facts.value_region[v];
    TENON_ASSIGN(const size_t begin, shapes_->add(plan().values[v].type.shape, region));
    shape_begin_.push_back(begin);
    region_values_[static_cast<size_t>(region)].push_back(static_cast<int>(v));
  }
  for (const auto& e : facts.equalities) {
    TENON_ASSIGN(DimProgram a, DimProgram::compile(e.a, index_of));
    TENON_ASSIGN(DimProgram b, DimProgram::compile(e.b, index_of));
    equalities_.push_back({std::move(a), std::move(b), e.a.to_string() + " and " + e.b.to_string(), e.region});
  }
  for (const engine::PlanSymbol& s : plan().symbols) {
    TENON_ASSIGN(DimProgram bound, DimProgram::compile(s.bound, index_of));
    bounds_.push_back(std::move(bound));
  }
  TENON_ASSIGN(tokens_, DimProgram::compile(plan().tokens, index_of));
  TENON_ASSIGN(texts_, DimProgram::compile(plan().texts, index_of));
  TENON_ASSIGN(length_, DimProgram::compile(plan().length, index_of));
  std::set<std::string> names;
  plan().tokens.collect_symbols(names);
  for (const std::string& name : names) tokens_region_ = std::max(tokens_region_, facts.symbol_region[static_cast<size_t>(symbol_index(name))]);
  return {};
}

Status Executable::prepare_steps() {
  slots_.resize(plan().steps.size());
  kernels_.resize(plan().steps.size());
  int region = 0;
  for (size_t i = 0; i < plan().steps.size(); ++i) {
    const engine::PlanStep& step = plan().steps[i];
    while (static_cast<int>(i) >= plan().regions[static_cast<size_t>(region)].end) ++region;
    StepSlots& slots = slots_[i];
    slots.inputs = tensor_args_;
    slots.outputs = slots.inputs + step.inputs.size();
    tensor_args_ = slots.outputs + step.outputs.size();
    slots.attr_sizes = sizes_args_;
    for (const auto& [name, value] : step.attrs.all()) {
      const ir::Shape* shape = std::get_if<ir::Shape>(&value);
      if (shape == nullptr) continue;
      TENON_ASSIGN(const size_t begin, shapes_->add(*shape, region));
      slots.attrs.push_back({name, begin, shape->size()});
    }
    sizes_args_ += slots.attrs.size();
    if (Status s = prepare_step(static_cast<int>(i)); !s.ok()) return s.with_context(describe_step(plan(), static_cast<int>(i)));
  }
  std::ranges::sort(max_lengths_);
  return {};
}

Status Executable::prepare_step(int index) {
  const engine::PlanStep& step = plan().steps[static_cast<size_t>(index)];
  const kernels::Problem own_problem = problem_of(plan(), step);
  for (const engine::KernelChoice& choice : step.kernels) {
    kernels::Problem problem = own_problem;
    const kernels::Kernel* kernel = kernels::find_kernel(choice.kernel);
    if (kernel == nullptr || kernel->version() != choice.version) {
      return error(ErrorCode::kEngineVersion, "kernel {} version {} is not in this runtime: build the engine again", choice.kernel, choice.version);
    }
    if (choice.absorbs == kernel->absorbs().empty()) return error(ErrorCode::kBadEngine, "kernel {} {} the step ahead", choice.kernel, choice.absorbs ? "does not compute" : "computes");
    if (choice.absorbs) {
      const engine::PlanStep& before = plan().steps[static_cast<size_t>(index) - 1];
      if (before.kernels[0].kernel != kernel->absorbs()) return error(ErrorCode::kBadEngine, "kernel {} cannot compute the step ahead", choice.kernel);
      problem.before = std::make_shared<const kernels::Problem>(problem_of(plan(), before));
    }
    if (const auto support = kernel->supports(problem); !support) {
      return error(ErrorCode::kBadEngine, "kernel {} cannot run this: {}", choice.kernel, support.reason);
    }
    TENON_TRY(check_packing(*kernel, problem, step));
    kernels::Config config;
    config.text = choice.config;
    TENON_TRY(check_places(*kernel, step));
    std::unique_ptr<kernels::Launcher> launcher;
    if (const kernels::CudaKernel* cuda = kernel->as_cuda()) {
      TENON_ASSIGN(launcher, cuda->load(problem, config, gpu_->device(), gpu_->function(choice.code)));
    } else {
      TENON_ASSIGN(launcher, kernel->prepare(problem, config));
    }
    kernels_[static_cast<size_t>(index)].push_back({choice.max_tokens, choice.max_length, choice.absorbs, std::move(launcher), kernel});
    if (choice.max_length > 0) max_lengths_.push_back(choice.max_length);
  }
  return {};
}

// A kernel gets what lies in its own memory; copies read one and write the other.
Status Executable::check_places(const kernels::Kernel& kernel, const engine::PlanStep& step) const {
  if (kernel.on_device() && gpu_ == nullptr) return error(ErrorCode::kBadEngine, "kernel {} in an engine for {}", kernel.id(), plan().target);
  const auto place_of = [&](int v) { return plan().values[static_cast<size_t>(v)].place; };
  const auto own = kernel.on_device() ? engine::Place::kDevice : engine::Place::kHost;
  const bool copies = step.op == ir::Op::k_copy && kernel.on_device();
  const auto to = !copies || kernel.id() == "cuda.upload" ? own : engine::Place::kHost;
  bool right = true;
  for (int v : step.inputs) right = right && (v < 0 || (place_of(v) == to) != copies);
  for (int v : step.outputs) right = right && place_of(v) == to;
  if (!right) return error(ErrorCode::kBadEngine, "kernel {} is given values of another device", kernel.id());
  for (const engine::KernelChoice& choice : step.kernels) {
    const kernels::Kernel* other = kernels::find_kernel(choice.kernel);
    if (other == nullptr || other->on_device() != kernel.on_device()) return error(ErrorCode::kBadEngine, "its kernels are for several devices");
  }
  return {};
}

// A weight must lie in the file as this kernel packs it: of that size, and by that name.
Status Executable::check_packing(const kernels::Kernel& kernel, const kernels::Problem& problem, const engine::PlanStep& step) const {
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (step.inputs[i] < 0) continue;
    const engine::PlanValue& root = plan().values[static_cast<size_t>(root_of(plan(), step.inputs[i]))];
    const bool direct = problem.constant[i];
    const auto packed = direct ? kernel.packed_type(problem, static_cast<int>(i)) : std::nullopt;
    const engine::PlanWeight* weight =
        root.kind == engine::PlanValue::Kind::kWeight ? &plan().weights[static_cast<size_t>(root.source)] : nullptr;
    // A kernel that computes the step ahead too, which stands first, packs as the step's own.
    const std::string layout = weight != nullptr ? weight->layout : "";
    const bool matches = packed ? weight != nullptr && layout == step.kernels.back().kernel && *packed == weight->type : layout.empty();
    if (!matches) return error(ErrorCode::kBadEngine, "weight {} is not as kernel {} packs it", weight != nullptr ? weight->name : "?", kernel.id());
  }
  return {};
}

Status Executable::check_equalities(int region, std::span<const int64_t> symbols) const {
  for (const Equality& e : equalities_) {
    if (e.region != region) continue;
    const auto a = e.a.evaluate(symbols), b = e.b.evaluate(symbols);
    if (!a || !b || *a != *b) return error(ErrorCode::kBadInput, "the sizes {} must be equal; they are {} and {}", e.text, a.value_or(-1), b.value_or(-1));
  }
  return {};
}

// Texts that are padded to it in a kernel: at most a quarter more rows than there are tokens.
int64_t Executable::served_length(std::span<const int64_t> symbols, int64_t tokens) const {
  const int64_t texts = texts_.evaluate(symbols).value_or(0), length = length_.evaluate(symbols).value_or(0);
  if (texts <= 0 || length <= 0) return 0;
  const auto it = std::ranges::find_if(max_lengths_, [&](int64_t most) {
    const auto padded = checked_mul(texts, most);
    return length <= most && padded && *padded <= tokens + tokens / 4;
  });
  return it == max_lengths_.end() ? 0 : *it;
}

int64_t Executable::tokens(int region, std::span<const int64_t> symbols) const {
  return tokens_region_ > region ? 0 : tokens_.evaluate(symbols).value_or(0);
}

int64_t Executable::symbol_bound(int symbol, std::span<const int64_t> symbols) const {
  return bounds_[static_cast<size_t>(symbol)].evaluate(symbols).value_or(0);
}

}  // namespace tenon::runtime
