// A Plan is all that the runtime needs to run a model: values, steps in order, kernels chosen, packed weights. It is plain
// data: the engine file stores it (engine/engine.fbs), src/plan makes it from a graph.
//
// Steps stand in regions. A region's sizes are known when it starts: sizes that depend on data (the token count of a mask)
// are computed by an earlier region as scalar values, which become symbols of the next.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace tenon::engine {

using ir::Dim;
using ir::Shape;
using ir::TensorType;

struct PlanValue {
  enum class Kind : uint8_t { kInput, kWeight, kTemporary };
  std::string name;
  TensorType type;
  Kind kind = Kind::kTemporary;
  int source = -1;    // kInput: index of the input; kWeight: index of the weight
  int alias_of = -1;  // a view of another value's memory (reshape); -1: its own
  int first_step = -1, last_step = -1;  // live range over all steps, aliases included; outputs live to the end
};

struct PlanWeight {
  std::string name;      // the parameter's name, or the constant expression's: "concat(q.weight,k.weight,v.weight)"
  TensorType type;       // as stored: packed layouts are one-dimensional
  std::string layout;    // empty: row-major as in the graph; else the kernel's id that packed it
  uint64_t offset = 0;   // within the weights' section, 64-byte aligned
  uint64_t bytes = 0;
};

struct KernelChoice {
  std::string kernel;   // Kernel::id
  int version = 1;
  std::string config;   // Config::text
  int64_t max_tokens = 0;  // serves token counts up to this; 0: any
};

struct PlanStep {
  ir::Op op{};
  ir::Attrs attrs;
  std::vector<int> inputs;   // value ids; -1: absent
  std::vector<int> outputs;  // value ids
  std::vector<KernelChoice> kernels;  // at least one, by rising max_tokens
  std::string origin;        // names of the source model's nodes
};

struct PlanRegion {
  int begin = 0, end = 0;  // steps [begin, end)
};

// A symbol of the shapes: an axis of an input, or a scalar computed by an earlier region.
struct PlanSymbol {
  std::string name;
  int input = -1, axis = 0;
  int value = -1;  // i64 scalar value id
  Dim bound;       // for data symbols: an upper bound over the others
};

struct PlanInput {
  std::string name;
  TensorType type;
  // What the input means, where the builder could tell: "input_ids", "attention_mask", "token_type_ids", "position_ids" or "".
  std::string role;
  int64_t limit = 0;  // ids must be below this (rows of the table they index); 0: not an id
};

struct PlanOutput {
  std::string name;
  int value = -1;
  int packed_value = -1;  // the same rows before unpack_tokens: [tokens, …]; -1: not a token-level output
};

struct Profile {  // one min/opt/max triple for every input with dynamic axes
  struct Range {
    std::string input;
    std::vector<int64_t> min, opt, max;
  };
  std::vector<Range> ranges;
};

struct Plan {
  std::string target = "cpu";
  std::vector<PlanInput> inputs;
  std::vector<PlanOutput> outputs;
  std::vector<PlanSymbol> symbols;
  std::vector<PlanValue> values;
  std::vector<PlanWeight> weights;
  std::vector<PlanStep> steps;
  std::vector<PlanRegion> regions;
  std::vector<Profile> profiles;
  // Row offsets of the packing (pack_tokens outputs), -1 when the model stays padded.
  int packing_mask_input = -1;    // which input is the 0/1 mask; -1: computed in the graph or none
  int row_offsets_value = -1;
};

}  // namespace tenon::engine
