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

// Whose memory a value lies in.
enum class Place : uint8_t { kHost, kDevice };

struct PlanValue {
  enum class Kind : uint8_t { kInput, kWeight, kTemporary };
  std::string name;
  TensorType type;
  Kind kind = Kind::kTemporary;
  int source = -1;    // kInput: index of the input; kWeight: index of the weight
  int alias_of = -1;      // shares the memory of an earlier value (a reshape, or in_place); -1: its own
  Place place = Place::kHost;  // the same for all that share memory
  bool in_place = false;  // with alias_of: the step that makes this value overwrites that one, which nothing reads later
  // Live range over all steps, aliases included; outputs live to the end. Inputs and weights have none. Not stored:
  // compute_live_ranges.
  int first_step = -1, last_step = -1;
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
  int code = -1;           // index into Plan::codes; -1: needs none
  int64_t max_length = 0;  // serves batches of texts of up to so many tokens, little shorter on average; 0: any
  bool absorbs = false;    // computes the step right ahead as well, which is then left out
};

// A kernel's machine code for one GPU architecture.
struct PlanCode {
  std::string source;  // DeviceSource::text: what it was compiled from
  std::string entry;
  std::string arch;    // "sm_90a"
  std::string cubin;
  std::string ptx;     // the same for newer GPUs, whose driver translates it; empty: none
};

struct PlanStep {
  ir::Op op{};
  ir::Attrs attrs;
  std::vector<int> inputs;   // value ids; -1: absent
  std::vector<int> outputs;  // value ids
  std::vector<KernelChoice> kernels;  // at least one; the first that serves is taken
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
  int64_t limit = 0;  // an axis of an input may be this long, by the model's tables (of positions …); 0: as long as it likes
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
  std::string target = "cpu";  // "reference", "cpu" or a GPU: "sm_90"
  std::vector<PlanInput> inputs;
  std::vector<PlanOutput> outputs;
  std::vector<PlanSymbol> symbols;
  std::vector<PlanValue> values;
  std::vector<PlanWeight> weights;
  std::vector<PlanStep> steps;
  std::vector<PlanRegion> regions;
  std::vector<PlanCode> codes;
  std::vector<Profile> profiles;
  Dim tokens = 0;  // what KernelChoice::max_tokens is compared with: a data symbol, or batch*seq; 0: nothing is
  Dim texts = 0, length = 0;  // of the batch, and of its longest text: what max_length is compared with; 0: nothing is
  // The packing (pack_tokens), -1 when the model stays padded.
  int packing_mask_input = -1;    // which input is the 0/1 mask; -1: computed in the graph or none
  int row_offsets_value = -1;     // i32[batch + 1]
};

// The value whose memory `value` lies in. Aliases must point backwards, which check_plan makes sure of.
int root_of(const Plan& plan, int value);

// Whether newer GPUs can run the code too: "sm_80", not "sm_90a".
bool is_portable(const PlanCode& code);

// "step 12, linear %y": for messages.
std::string describe_step(const Plan& plan, int step);

// An operator of a user's library that steps of a plan are.
struct PluginUse {
  std::string name, version, library;
  int steps = 0;
};
std::vector<PluginUse> plugins_of(const Plan& plan);

// Fills in PlanValue::first_step and last_step of every temporary root.
void compute_live_ranges(Plan& plan);

// True when a kernel of this step may compute the step ahead too: it then reads what that one reads.
bool absorbs_previous(const PlanStep& step);

// What checking a plan finds out and running it needs.
struct PlanFacts {
  std::vector<int> symbol_region;  // per symbol: the first region in which it is known
  std::vector<int> value_region;   // per value: the region that defines it; 0 for inputs and weights
  struct Equality {
    Dim a, b;
    int region = 0;
  };
  std::vector<Equality> equalities;  // inference assumed these sizes to be equal; the runtime checks them
};

// Checks everything that the runtime relies on: indices, order of definitions, regions, aliases, attributes as the ops
// define them, types as they infer, symbols known before they are used, weights inside their section of `weight_bytes`.
// Errors: bad-engine, naming the step or value.
Result<PlanFacts> check_plan(const Plan& plan, uint64_t weight_bytes);

}  // namespace tenon::engine
