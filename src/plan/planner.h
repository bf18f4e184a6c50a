// From a compiled graph to a Plan: steps in the graph's order, a kernel for each, weights laid out, memory shared in place.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/metadata.h"
#include "engine/plan.h"
#include "ir/graph.h"
#include "kernels/kernel.h"
#include "plan/config_choice.h"

namespace tenon::plan {

class ExpressionNames;  // plan/weight_table.h

struct PlanOptions {
  kernels::Target target = kernels::Target::kCpu;
  Machine machine = {};  // for Target::kCuda; on CPUs the one that timings are of, none where there are none
  // What was timed; null: nothing was. Shipped timings are looked up in either case.
  const TimingCache* timings = nullptr;
  std::vector<engine::Profile> profiles;
  // What inputs mean (engine::PlanInput::role), by name. Inputs that are not listed are recognised by their usual names.
  std::map<std::string, std::string> roles;
  std::map<std::string, int64_t> limits = {};  // of symbols (engine::PlanSymbol::limit), by name
  ExpressionNames* names = nullptr;  // shared with the plans that are to share weights with this one; null: the plan's own
};

// A kernel that was asked before the one that was chosen, and why it cannot run the step.
struct KernelRejection {
  int step = 0;
  std::string kernel;
  std::string reason;
};

// How to make the bytes of one PlanWeight when its turn comes.
struct PendingWeight {
  const ir::Value* value = nullptr;          // a constant expression of the graph
  const kernels::Kernel* kernel = nullptr;   // packs it; null: stored as it is
  kernels::Problem problem;                  // of the step that it is packed for
  int input = 0;                             // which input of that step
  std::string bytes_name;                    // equal for weights whose bytes are equal, also in other plans
};

// The graph must outlive it.
struct PlannedModel {
  engine::Plan plan;
  std::vector<PendingWeight> weights;  // as plan.weights
  std::vector<KernelRejection> rejections;
  std::vector<ConfigProblem> config_problems;  // in the order of the steps that have them first
  std::vector<kernels::DeviceSource> sources;  // as plan.codes, whose machine code compile_codes fills in

  // Evaluates and packs one weight; nothing of it stays in memory. For engine::write_engine.
  Result<ir::Tensor> make_weight(int index) const;
};

// Errors: unsupported (an input size that no symbol can be bound from), internal.
Result<PlannedModel> make_plan(const ir::Graph& compiled, const PlanOptions& options = {});

}  // namespace tenon::plan
