#include "plan/planner.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/checked.h"
#include "engine/writer.h"
#include "kernels/cuda/kernels.h"
#include "ops/interpret.h"
#include "plan/absorb.h"
#include "plan/in_place.h"
#include "plan/input_roles.h"
#include "plan/placement.h"
#include "plan/weight_table.h"

namespace tenon::plan {
namespace {

using engine::Place;
using engine::PlanValue;
using ir::Node;
using ir::Op;
using ir::Value;

class Planner {
 public:
  Planner(const ir::Graph& graph, const PlanOptions& options) : graph_(graph), options_(options), weights_(model_, options.names != nullptr ? *options.names : own_names_) {}

  Result<PlannedModel> run() {
    plan().target = target_name(options_.target, options_.machine);
    plan().profiles = options_.profiles;
    add_inputs();
    TENON_TRY(add_input_symbols());
    for (const auto& node : graph_.nodes()) TENON_TRY(add_node(*node));
    TENON_TRY(add_outputs());
    TENON_TRY(add_data_symbols());
    group_by_place();
    merge_copies();
    cut_regions();
    note_packing();
    absorb_steps(plan(), kernels_, problems_, options_.machine, [this](const auto&... of) { return make_choice(of...); });
    reuse_in_place(plan(), kernels_, problems_);
    engine::compute_live_ranges(plan());
    engine::place_weights(plan());
    // The reader will ask the same of the file; a plan that it would refuse is a bug here.
    const auto& weights = plan().weights;
    const uint64_t bytes = weights.empty() ? 0 : weights.back().offset + weights.back().bytes;
    if (auto checked = engine::check_plan(plan(), bytes); !checked.ok()) return Status(ErrorCode::kInternal, "planning: " + checked.status().message());
    return std::move(model_);
  }

 private:
  engine::Plan& plan() { return model_.plan; }

  // `id`, or a copy of it in memory of `place`; each value is copied once.
  int placed(int id, Place place) {
    if (plan().values[static_cast<size_t>(id)].place == place) return id;
    if (const auto it = copies_.find(id); it != copies_.end()) return it->second;
    const PlanValue& from = plan().values[static_cast<size_t>(id)];
    const bool up = place == Place::kDevice;
    PlanValue copy;
    copy.name = from.name + (up ? ".device" : ".host");
    copy.type = from.type;
    copy.place = place;
    const int made = static_cast<int>(plan().values.size());
    const kernels::Problem problem{.op = Op::k_copy, .attrs = {}, .inputs = {copy.type}, .present = {true}, .constant = {false}, .outputs = {copy.type}, .before = nullptr};
    plan().values.push_back(std::move(copy));
    const kernels::Kernel& kernel = up ? kernels::cuda::upload_kernel() : kernels::cuda::download_kernel();
    plan().steps.push_back({Op::k_copy, {}, {id}, {made}, choose_configs(kernel, problem), ""});
    kernels_.push_back(&kernel);
    problems_.push_back(problem);
    copies_[id] = made;
    return made;
  }

  int add_value(const Value& value, Place place = Place::kHost) {
    const int id = static_cast<int>(plan().values.size());
    PlanValue v;
    v.name = value.name();
    v.type = value.type();
    v.place = place;
    plan().values.push_back(std::move(v));
    ids_[&value] = id;
    return id;
  }

  // The plan value of a graph value that is not a weight for a kernel: computed before, or a constant as it is.
  Result<int> id_of(const Value& value) {
    if (const auto it = ids_.find(&value); it != ids_.end()) return it->second;
    return weights_.add(value, nullptr, {}, 0);
  }

  void add_inputs() {
    for (const auto& in : graph_.inputs()) {
      const auto given = options_.roles.find(in->name());
      const std::string role = given != options_.roles.end() ? given->second : usual_role(in->name());
      plan().inputs.push_back({in->name(), in->type(), role, index_limit(*in)});
      PlanValue& v = plan().values[static_cast<size_t>(add_value(*in))];
      v.kind = PlanValue::Kind::kInput;
      v.source = in->index();
    }
  }

  Status add_input_symbols() {
    std::set<std::string> needed, bound;
    for (size_t i = 0; i < plan().inputs.size(); ++i) {
      const ir::Shape& shape = plan().inputs[i].type.shape;
      for (size_t axis = 0; axis < shape.size(); ++axis) {
        shape[axis].collect_symbols(needed);
        if (!shape[axis].is_symbol() || !bound.insert(shape[axis].to_string()).second) continue;
        const auto limit = options_.limits.find(shape[axis].to_string());
        const int64_t most = limit == options_.limits.end() ? 0 : limit->second;
        plan().symbols.push_back({shape[axis].to_string(), static_cast<int>(i), static_cast<int>(axis), -1, 0, most});
      }
    }
    for (const std::string& name : needed) {
      if (!bound.contains(name)) return error(ErrorCode::kUnsupported, "no input has an axis that is the size {} by itself", name);
    }
    return {};
  }

  Status add_node(const Node& node) {
    if (ops::is_constant_expression(*node.output())) return {};
    if (node.is(Op::k_reshape)) {
      TENON_ASSIGN(const int source, id_of(*node.input(0)));
      const Place place = plan().values[static_cast<size_t>(source)].place;
      plan().values[static_cast<size_t>(add_value(*node.output(), place))].alias_of = source;
      return {};
    }
    const kernels::Problem problem = make_problem(node);
    const kernels::Kernel* kernel = choose_kernel(problem, on_host_.contains(&node));
    if (kernel == nullptr) return no_kernel(node);
    const Place place = kernel->on_device() ? Place::kDevice : Place::kHost;

    engine::PlanStep step{node.op(), node.attrs(), {}, {}, choose_configs(*kernel, problem), node.origin()};
    for (int i = 0; i < node.num_inputs(); ++i) {
      const Value* in = node.input(i);
      if (in == nullptr) {
        step.inputs.push_back(-1);
      } else if (const auto it = ids_.find(in); it != ids_.end()) {
        step.inputs.push_back(placed(it->second, place));
      } else {
        TENON_ASSIGN(const int weight, weights_.add(*in, kernel, problem, i, place));
        step.inputs.push_back(weight);
      }
    }
    for (int i = 0; i < node.num_outputs(); ++i) step.outputs.push_back(add_value(*node.output(i), place));
    for (const auto& [refused, reason] : refused_) {
      model_.rejections.push_back({static_cast<int>(plan().steps.size()), std::string(refused->id()), reason});
    }
    plan().steps.push_back(std::move(step));
    kernels_.push_back(kernel);
    problems_.push_back(problem);
    return {};
  }

  kernels::Problem make_problem(const Node& node) const {
    kernels::Problem problem{.op = node.op(), .attrs = node.attrs(), .inputs = {}, .present = {}, .constant = {}, .outputs = {}, .before = nullptr};
    for (const Value* in : node.inputs()) {
      problem.inputs.push_back(in != nullptr ? in->type() : ir::TensorType{});
      problem.present.push_back(in != nullptr);
      problem.constant.push_back(in != nullptr && ops::is_constant_expression(*in));
    }
    for (int i = 0; i < node.num_outputs(); ++i) problem.outputs.push_back(node.output(i)->type());
    return problem;
  }

  const kernels::Kernel* choose_kernel(const kernels::Problem& problem, bool on_host) {
    refused_.clear();
    for (const kernels::Kernel* kernel : kernels::kernel_list(options_.target)) {
      const kernels::CudaKernel* cuda = kernel->as_cuda();
      if (cuda != nullptr && !cuda->runs_on(options_.machine.compute_capability)) continue;
      kernels::Support support = kernel->supports(problem);
      if (support && kernel->on_device() && on_host) support = kernels::Support::no("integers are computed on the host");
      if (support) return kernel;
      refused_.emplace_back(kernel, support.reason);
    }
    return nullptr;
  }

  // Only plugins can be refused by every kernel; their own says why.
  Status no_kernel(const Node& node) const {
    if (!node.is(Op::k_plugin)) return error(ErrorCode::kInternal, "no kernel runs {}", node.describe());
    const auto it = std::ranges::find(refused_, "plugin.host", [](const auto& r) { return r.first->id(); });
    return error(ErrorCode::kPlugin, "{}: {}", node.describe(), it != refused_.end() ? it->second : "it has no kernel");
  }

  // One config for each range of token counts that wants another. On CPUs the first serves all where nothing was timed.
  std::vector<engine::KernelChoice> choose_configs(const kernels::Kernel& kernel, const kernels::Problem& problem) {
    const std::vector<kernels::Config> configs = kernel.configs(problem);
    const bool on_host = options_.target != kernels::Target::kCuda && !options_.machine.device.empty();
    const bool one_serves_all = !(kernel.on_device() || on_host) || configs.size() == 1 || problem.inputs.empty();
    if (one_serves_all) return {make_choice(kernel, problem, configs.front(), 0)};
    std::vector<engine::KernelChoice> choices;
    for (const ConfigProblem::Size& size : config_problem(kernel, problem).sizes) {
      engine::KernelChoice next = make_choice(kernel, problem, size.choice.config, size.max_tokens);
      if (!choices.empty() && choices.back().config == next.config) choices.pop_back();
      choices.push_back(std::move(next));
    }
    choices.back().max_tokens = 0;
    return choices;
  }

  engine::KernelChoice make_choice(const kernels::Kernel& kernel, const kernels::Problem& problem, const kernels::Config& config,
                                   int64_t max_tokens) {
    return {std::string(kernel.id()), kernel.version(), config.text, max_tokens, code_for(kernel, problem, config)};
  }

  // The configs chosen for this problem, which other steps may have had before.
  const ConfigProblem& config_problem(const kernels::Kernel& kernel, const kernels::Problem& problem) {
    const ir::Dim rows = rows_of(problem);
    if (rows_ == ir::Dim(0) && !rows.is_const()) rows_ = rows;
    std::string text = problem_text(problem);
    // Equal problems with other rows (one for each text, say) have choices of their own.
    const auto [it, is_new] = config_problems_.emplace(fmt::format("{} {} {}", kernel.id(), text, rows.to_string()), model_.config_problems.size());
    if (is_new) {
      ConfigProblem made{&kernel, problem, std::move(text), 0, {}};
      const auto add_size = [&](int64_t max_tokens, int64_t count) {
        if (!made.sizes.empty() && made.sizes.back().rows == count) made.sizes.pop_back();
        made.sizes.push_back({max_tokens, count, choose_config(kernel, problem, count, options_.machine, options_.timings)});
      };
      constexpr int64_t kGpuLadder[] = {32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2112, 3072, 4224, 6336, 8448, 12672, 16896};
      constexpr int64_t kCpuLadder[] = {8, 16, 32, 64, 128, 256, 384};  // more rows are more blocks of these
      constexpr int64_t kImageLadder[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
      if (rows.is_const()) {
        add_size(0, rows.value());
      } else {
        std::span<const int64_t> ladder = kernel.on_device() ? std::span<const int64_t>(kGpuLadder) : kCpuLadder;
        if (problem.op == Op::k_conv && rows == rows_) ladder = kImageLadder;
        for (const int64_t most : ladder) {
          add_size(most, rows_at(rows, most));
          if (most >= most_tokens()) break;
        }
        made.sizes.back().max_tokens = 0;
      }
      model_.config_problems.push_back(std::move(made));
    }
    ConfigProblem& found = model_.config_problems[it->second];
    ++found.steps;
    return found;
  }

  // How many `rows` there are where there are so many of rows_.
  int64_t rows_at(const ir::Dim& rows, int64_t count) const {
    if (rows == rows_) return count;
    std::set<std::string> own, measured;
    rows.collect_symbols(own);
    rows_.collect_symbols(measured);
    const auto at = [](const ir::Dim& d) { return static_cast<double>(d.evaluate([](auto) { return 64; }).value_or(0)); };
    constexpr double kUsualLength = 128;  // tokens of a text, where rows are texts
    const bool proportional = own == measured && at(rows) > 0 && at(rows_) > 0;
    const double share = proportional ? at(rows) / at(rows_) : 1 / kUsualLength;
    return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(std::min(share * static_cast<double>(count), 1e9))));
  }

  // More tokens than this are not asked for by any profile.
  int64_t most_tokens() const {
    int64_t most = 0;
    for (const engine::Profile& profile : options_.profiles) {
      for (const engine::Profile::Range& range : profile.ranges) most = std::max(most, checked_numel(range.max).value_or(INT64_MAX));
    }
    return most > 0 ? most : INT64_MAX;
  }

  // The place of a config's code in plan.codes; -1: it needs none.
  int code_for(const kernels::Kernel& kernel, const kernels::Problem& problem, const kernels::Config& config) {
    const kernels::CudaKernel* cuda = kernel.as_cuda();
    const auto source = cuda != nullptr ? cuda->code(problem, config, options_.machine.compute_capability) : std::nullopt;
    if (!source) return -1;
    const std::string arch = cuda->arch(config, options_.machine.compute_capability);
    const auto [it, is_new] = codes_.emplace(arch + " " + source->text(), static_cast<int>(plan().codes.size()));
    if (is_new) {
      plan().codes.push_back({source->text(), source->entry, arch, "", ""});
      model_.sources.push_back(*source);
    }
    return it->second;
  }

  Status add_outputs() {
    for (const ir::Output& out : graph_.outputs()) {
      TENON_ASSIGN(int id, id_of(*out.value));
      id = placed(id, Place::kHost);
      engine::PlanOutput& made = plan().outputs.emplace_back();
      made.name = out.name;
      made.value = id;
      const Node* producer = out.value->producer();
      const auto same_rows = [&](const Value& packed) {
        return packed.type().dtype == out.value->type().dtype && packed.rank() + 1 == out.value->rank();
      };
      if (producer != nullptr && producer->is(Op::k_unpack_tokens) && ids_.contains(producer->input(0)) &&
          same_rows(*producer->input(0)) &&
          plan().values[static_cast<size_t>(ids_.at(producer->input(0)))].place == Place::kHost) {
        made.packed_value = ids_.at(producer->input(0));
      }
    }
    return {};
  }

  Status add_data_symbols() {
    for (const auto& [name, data] : graph_.data_symbols) {
      if (!ids_.contains(data.value)) return error(ErrorCode::kUnsupported, "the size {} is a constant value", name);
      plan().symbols.push_back({name, -1, 0, placed(ids_.at(data.value), Place::kHost), data.bound, 0});
    }
    return {};
  }

  int step_that_makes(int value) const {
    const engine::Plan& p = model_.plan;
    while (p.values[static_cast<size_t>(value)].alias_of >= 0) value = p.values[static_cast<size_t>(value)].alias_of;
    for (size_t i = 0; i < p.steps.size(); ++i)
      if (std::ranges::count(p.steps[i].outputs, value) > 0) return static_cast<int>(i);
    return -1;
  }

  // Steps of one place stand together as far as their inputs allow, uploads before and downloads behind what computes: a run
  // changes sides rarely, and what stands together on a GPU becomes one graph.
  void group_by_place() {
    if (options_.target != kernels::Target::kCuda) return;
    const size_t count = plan().steps.size();
    std::vector<int> level(plan().values.size(), 0);  // of the step that makes a value: even on the host, odd on the GPU
    std::vector<std::pair<int, size_t>> order;
    for (size_t i = 0; i < count; ++i) {
      const engine::PlanStep& step = plan().steps[i];
      const int side = kernels_[i]->on_device() ? 1 : 0;
      int own = side;
      for (int v : step.inputs)
        if (v >= 0) own = std::max(own, level[static_cast<size_t>(engine::root_of(plan(), v))]);
      if (own % 2 != side) ++own;
      for (int v : step.outputs) level[static_cast<size_t>(v)] = own;
      const bool copies = step.op == Op::k_copy;
      const bool up = copies && plan().values[static_cast<size_t>(step.outputs[0])].place == Place::kDevice;
      order.emplace_back(3 * own + (up ? 0 : copies ? 2 : 1), i);
    }
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    const auto reorder = [&](auto& items) {
      std::remove_reference_t<decltype(items)> sorted;
      for (const auto& [key, i] : order) sorted.push_back(std::move(items[i]));
      items = std::move(sorted);
    };
    std::vector<int> now_at(count);
    for (size_t i = 0; i < count; ++i) now_at[order[i].second] = static_cast<int>(i);
    for (KernelRejection& r : model_.rejections) r.step = now_at[static_cast<size_t>(r.step)];
    reorder(plan().steps);
    reorder(kernels_);
    reorder(problems_);
  }

  // Copies in one direction that stand together become one step.
  void merge_copies() {
    std::vector<engine::PlanStep> steps;
    std::vector<const kernels::Kernel*> kernels;
    std::vector<kernels::Problem> problems;
    std::vector<int> now_at;
    for (size_t i = 0; i < plan().steps.size(); ++i) {
      engine::PlanStep& step = plan().steps[i];
      const bool joins = step.op == Op::k_copy && !steps.empty() && kernels.back() == kernels_[i] &&
                         steps.back().inputs.size() < kernels::cuda::kMostCopies;
      if (joins) {
        steps.back().inputs.push_back(step.inputs[0]);
        steps.back().outputs.push_back(step.outputs[0]);
        kernels::Problem& problem = problems.back();
        problem.inputs.push_back(problems_[i].inputs[0]);
        problem.present.push_back(true);
        problem.constant.push_back(problems_[i].constant[0]);
        problem.outputs.push_back(problems_[i].outputs[0]);
      } else {
        steps.push_back(std::move(step));
        kernels.push_back(kernels_[i]);
        problems.push_back(std::move(problems_[i]));
      }
      now_at.push_back(static_cast<int>(steps.size()) - 1);
    }
    for (KernelRejection& r : model_.rejections) r.step = now_at[static_cast<size_t>(r.step)];
    plan().steps = std::move(steps);
    kernels_ = std::move(kernels);
    problems_ = std::move(problems);
  }

  // A step that computes a symbol ends its region.
  void cut_regions() {
    std::set<int> ends;
    for (const engine::PlanSymbol& s : plan().symbols)
      if (s.value >= 0) ends.insert(step_that_makes(s.value) + 1);
    int begin = 0;
    for (int end : ends) plan().regions.push_back({std::exchange(begin, end), end});
    plan().regions.push_back({begin, static_cast<int>(plan().steps.size())});
  }

  void note_packing() {
    const bool by_size = std::ranges::any_of(plan().steps, [](const engine::PlanStep& s) { return s.kernels.size() > 1; });
    if (options_.target == kernels::Target::kCuda || by_size) plan().tokens = rows_;
    for (const engine::PlanStep& step : plan().steps) {
      if (step.op != Op::k_pack_tokens || plan().row_offsets_value >= 0) continue;
      plan().row_offsets_value = step.outputs[0];
      plan().tokens = step.attrs.shape("tokens")[0];
      const int mask = step.inputs[0];
      if (mask < static_cast<int>(plan().inputs.size()) && plan().inputs[static_cast<size_t>(mask)].type.rank() == 2) plan().packing_mask_input = mask;
    }
    if (plan().row_offsets_value >= 0) return;
    for (engine::PlanOutput& out : plan().outputs) out.packed_value = -1;
  }

  const ir::Graph& graph_;
  const PlanOptions& options_;
  PlannedModel model_;
  ExpressionNames own_names_;
  WeightTable weights_;
  const std::unordered_set<const Node*> on_host_ = host_nodes(graph_);
  std::unordered_map<const Value*, int> ids_;      // all but weights
  std::map<int, int> copies_;                      // of values, on the other device
  std::map<std::string, int> codes_;               // arch and source -> place in plan.codes
  std::vector<std::pair<const kernels::Kernel*, std::string>> refused_;  // for the node at hand
  ir::Dim rows_ = 0;                               // of the first product: the token count
  std::map<std::string, size_t> config_problems_;  // kernel, text and rows -> place in model_.config_problems
  std::vector<const kernels::Kernel*> kernels_;    // per step
  std::vector<kernels::Problem> problems_;         // per step
};

}  // namespace

Result<ir::Tensor> PlannedModel::make_weight(int index) const {
  const PendingWeight& pending = weights[static_cast<size_t>(index)];
  TENON_ASSIGN(ir::Tensor tensor, ops::evaluate_constant(*pending.value));
  if (pending.kernel == nullptr) return tensor;
  return pending.kernel->prepack(pending.problem, pending.input, tensor);
}

Result<PlannedModel> make_plan(const ir::Graph& compiled, const PlanOptions& options) { return Planner(compiled, options).run(); }

}  // namespace tenon::plan
