// What an engine says about itself besides its plans: where it came from, what its outputs mean, what the compiler did.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace tenon::engine {

// One line of the decision log: what a pass did at a node, or declined to do, and why.
struct Decision {
  std::string pass;      // "fuse_qkv"; for the planner "plan"
  std::string node;      // as ir::Node::describe, or a step
  std::string decision;  // "fused", "declined", "kernel cpu.linear.f32" …
  std::string reason;    // empty when there is nothing to say
};

// How a value of the engine relates to one of the imported graph; what `tenon verify` compares.
struct ValueOrigin {
  std::string value;   // name in the plan
  std::string source;  // name in the imported graph
  std::string kind;    // "same", "packed" (rows of masked positions left out) or "channels last" (of [N, C, spatial…])
};

// How a plan came about.
struct PlanTexts {
  std::string graph_compiled;  // text form (ir/text.h), weights left out
  std::vector<Decision> decisions;
  std::vector<ValueOrigin> origins;
};

struct Metadata {
  std::string tenon_version;
  std::string model_source;  // these five as in ir::Model
  std::string architecture;
  std::string task;
  std::vector<std::string> labels;
  std::map<std::string, std::string> properties;
  std::vector<std::string> notes;
  std::map<std::string, std::string> build_options;

  std::string graph_imported;  // text form (ir/text.h), weights left out
  std::vector<PlanTexts> plans;  // of the engine's plans, in their order

  std::string tokenizer;  // serialized by src/text; empty: none
};

}  // namespace tenon::engine
