#include "plan/absorb.h"

#include <algorithm>

#include "kernels/cpu/kernels.h"
#include "kernels/cuda/kernels.h"

namespace tenon::plan {
namespace {

using ir::Op;

// Whether step i alone reads what the one ahead makes, by all of its inputs `by`.
bool reads_alone(const engine::Plan& plan, size_t i, std::initializer_list<size_t> by) {
  const engine::PlanStep& step = plan.steps[i];
  const auto made = [&](int v) { return v == plan.steps[i - 1].outputs[0]; };
  const auto reads = [&](const engine::PlanStep& s) { return std::ranges::any_of(s.inputs, made); };
  const bool is_seen = std::ranges::any_of(plan.values, [&](const engine::PlanValue& v) { return made(v.alias_of); }) ||
                       std::ranges::any_of(plan.outputs, [&](const engine::PlanOutput& out) { return made(out.value) || made(out.packed_value); });
  return std::ranges::count_if(plan.steps, reads) == 1 && !is_seen && std::ranges::all_of(by, [&](size_t k) { return made(step.inputs[k]); });
}

// What says how long the texts are that a step attends over.
bool find_length(engine::Plan& plan, const engine::PlanStep& attention) {
  const auto shape_of = [&](int v) { return plan.values[static_cast<size_t>(v)].type.shape; };
  ir::Shape texts = shape_of(attention.inputs[0]);  // [batch, seq, …], or rows
  if (texts.size() == 2) {
    const auto pack = std::ranges::find(plan.steps, Op::k_pack_tokens, &engine::PlanStep::op);
    if (pack == plan.steps.end()) return false;
    texts = shape_of(pack->inputs[0]);
  }
  if (texts[1].is_const() && texts[1].value() > kernels::cuda::kShortRows) return false;
  if (plan.length != ir::Dim(0)) return plan.texts == texts[0] && plan.length == texts[1];
  plan.texts = texts[0];
  plan.length = texts[1];
  return true;
}

// Only where the product ahead sums K in one order for all tiles: it does not below `few` tokens, where K is split.
void absorb_projection(const kernels::Kernel& kernel, const kernels::Problem& problem, const engine::PlanStep& before, engine::PlanStep& step,
                       int multiprocessors, const MakeChoice& make_choice) {
  std::vector<engine::KernelChoice> choices;
  int64_t few = 0;
  for (const engine::KernelChoice& c : before.kernels) {
    const std::vector<kernels::Config> configs = kernels::find_kernel(c.kernel)->configs(*problem.before);
    const auto config = std::ranges::find(configs, c.config, &kernels::Config::text);
    if (config == configs.end() || config->numerics == "wgmma") continue;
    if (c.max_tokens == 0) return;
    few = c.max_tokens;
  }
  for (engine::KernelChoice own : step.kernels) {
    const bool goes_on = own.max_tokens == 0 || own.max_tokens > few;
    if (goes_on) own.max_tokens = few;
    if (few > 0) choices.push_back(own);
    if (goes_on) break;
  }
  const int64_t heads = problem.attrs.integer("heads");
  const int64_t one_turn = multiprocessors / heads * kernels::cuda::kShortRows;
  for (const int64_t most : {one_turn, int64_t{0}}) {
    if (most != 0 && most <= few) continue;
    const kernels::Config config = kernel.config_for(problem, most != 0 ? most : one_turn + 1, multiprocessors);
    engine::KernelChoice choice = make_choice(kernel, problem, config, most);
    choice.max_length = kernels::cuda::kShortRows;
    choice.absorbs = true;
    choices.push_back(std::move(choice));
  }
  for (const engine::KernelChoice& own : step.kernels)
    if (own.max_tokens == 0 || own.max_tokens > few) choices.push_back(own);
  step.kernels = std::move(choices);
}

}  // namespace

void absorb_steps(engine::Plan& plan, const std::vector<const kernels::Kernel*>& kernels, const std::vector<kernels::Problem>& problems,
                  const Machine& machine, const MakeChoice& make_choice) {
  const kernels::Kernel &projected = kernels::cuda::projected_attention_sm90_kernel(), &pair = kernels::cpu::conv_pair_kernel();
  for (size_t i = 1; i < plan.steps.size(); ++i) {
    engine::PlanStep& step = plan.steps[i];
    const auto takes = [&](const kernels::Kernel& kernel, const kernels::Kernel& own, std::initializer_list<size_t> by) {
      return kernels[i] == &own && kernels[i - 1]->id() == kernel.absorbs() && reads_alone(plan, i, by);
    };
    const bool attends = takes(projected, kernels::cuda::attention_sm90_kernel(), {0, 1, 2});
    const bool slides = takes(pair, kernels::cpu::depthwise_conv_kernel(), {0});
    if (!attends && !slides) continue;
    kernels::Problem problem = problems[i];
    problem.before = std::make_shared<const kernels::Problem>(problems[i - 1]);
    if (attends && projected.supports(problem) && find_length(plan, step))
      absorb_projection(projected, problem, plan.steps[i - 1], step, machine.multiprocessors, make_choice);
    if (slides && pair.supports(problem)) {
      engine::KernelChoice choice = make_choice(pair, problem, {}, 0);
      choice.absorbs = true;
      step.kernels.insert(step.kernels.begin(), std::move(choice));
    }
  }
}

}  // namespace tenon::plan
