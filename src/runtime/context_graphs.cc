// Runs of steps on a GPU: what they read where it lies, and the graphs that replay them.
#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "engine/plan.h"
#include "runtime/context.h"
#include "runtime/nvtx.h"

namespace tenon::runtime {

void Context::find_inputs_of_device() {
  const size_t count = plan().inputs.size();
  read_by_device_.assign(count, false);
  read_by_host_.assign(count, false);
  const auto input_of = [&](int v) {
    const int root = v < 0 ? -1 : engine::root_of(plan(), v);
    return root < static_cast<int>(count) ? root : -1;
  };
  for (size_t i = 0; i < plan().steps.size(); ++i) {
    const engine::PlanStep& step = plan().steps[i];
    const bool on_device = executable_->on_device(static_cast<int>(i));
    for (size_t k = 0; k < step.inputs.size(); ++k) {
      const int input = input_of(step.inputs[k]);
      if (input < 0) continue;
      (on_device ? read_by_device_ : read_by_host_)[static_cast<size_t>(input)] = true;
      if (on_device && step.op == ir::Op::k_copy) uploads_.emplace_back(input, step.outputs[k]);
    }
  }
  const auto reads = [&](int v) {
    if (const int input = input_of(v); input >= 0) read_by_host_[static_cast<size_t>(input)] = true;
  };
  for (const engine::PlanOutput& out : plan().outputs) reads(out.value);
  for (const engine::PlanSymbol& symbol : plan().symbols) reads(symbol.value);
}

// Brings to the host what it reads of inputs in the GPU's memory, all in one round trip: masks decide what is launched, and
// ids are checked before anything reads by them. Floats that only the device reads stay.
Status Context::fetch_inputs() {
  for (int i = 0; i < static_cast<int>(plan().inputs.size()); ++i) {
    const auto given = inputs_.given_on_device(i);
    if (!given) continue;
    const size_t at = static_cast<size_t>(i);
    const std::string& name = plan().inputs[at].name;
    if (queue_ == nullptr) return error(ErrorCode::kBadInput, "input \"{}\" is given in a GPU's memory to an engine for {}", name, plan().target);
    if (is_float(given->dtype) && !read_by_host_[at]) continue;
    const auto count = checked_numel(given->shape);
    const auto bytes = count ? checked_mul(*count, static_cast<int64_t>(dtype_size(given->dtype))) : std::nullopt;
    if (!bytes) return error(ErrorCode::kBadInput, "input \"{}\" is too large", name);
    TENON_TRY(fetched_inputs_[at].reserve(static_cast<size_t>(*bytes), memory_limit_));
    if (Status s = queue_->copy(fetched_inputs_[at].data(), given->data, static_cast<size_t>(*bytes)); !s.ok()) return s.with_context("input \"" + name + "\"");
    inputs_.use_copy(i, fetched_inputs_[at].data());
  }
  return queue_ != nullptr ? queue_->wait() : Status();
}

// What was given on the device is read where it is, unless a step writes over its copy.
void Context::point_uploads() {
  for (const auto& [input, copy] : uploads_) {
    if (!inputs_.on_device(input)) continue;
    bool overwritten = false;
    for (size_t v = 0; v < root_.size(); ++v) overwritten = overwritten || (root_[v] == copy && value(static_cast<int>(v)).in_place);
    if (!overwritten) data_[static_cast<size_t>(copy)] = data_[static_cast<size_t>(input)];
  }
}

// The symbols that a step's sizes depend on, by name.
std::set<std::string> Context::sizes_of(int step) const {
  std::set<std::string> names;
  const engine::PlanStep& s = plan().steps[static_cast<size_t>(step)];
  const auto collect = [&](const ir::Shape& shape) {
    for (const ir::Dim& d : shape) d.collect_symbols(names);
  };
  for (const auto* values : {&s.inputs, &s.outputs})
    for (int v : *values)
      if (v >= 0) collect(value(v).type.shape);
  for (const auto& [name, attr] : s.attrs.all())
    if (const auto* shape = std::get_if<ir::Shape>(&attr)) collect(*shape);
  return names;
}

std::vector<size_t> Context::symbols_of(int begin, int end) const {
  std::set<size_t> symbols;
  for (int step = begin; step < end; ++step)
    for (const std::string& name : sizes_of(step)) symbols.insert(static_cast<size_t>(executable_->symbol_index(name)));
  return {symbols.begin(), symbols.end()};
}

// The longest run of steps without the sizes that are confined to its edges: a head that unpacks rows asks for the padded
// length, as does what looks at a mask in the beginning; the layers between do not.
std::pair<int, int> Context::find_core(int begin, int end) const {
  std::vector<std::set<std::string>> sizes;
  std::set<std::string> all, confined;
  for (int step = begin; step < end; ++step) {
    std::set<std::string>& of_inputs = sizes.emplace_back(sizes_of(step));
    std::erase_if(of_inputs, [&](const std::string& name) { return plan().symbols[static_cast<size_t>(executable_->symbol_index(name))].input < 0; });
    all.insert(of_inputs.begin(), of_inputs.end());
  }
  const auto longest_without = [&](const std::set<std::string>& names) {
    std::pair<int, int> longest{begin, begin};
    for (int from = begin, at = begin; at < end; ++at) {
      const bool has = std::ranges::any_of(sizes[static_cast<size_t>(at - begin)], [&](const std::string& n) { return names.contains(n); });
      if (has) from = at + 1;
      if (at + 1 - from > longest.second - longest.first) longest = {from, at + 1};
    }
    return longest;
  };
  const auto is_most = [&](std::pair<int, int> run) { return 2 * (run.second - run.first) >= end - begin; };
  for (const std::string& name : all)
    if (is_most(longest_without({name}))) confined.insert(name);
  const auto core = longest_without(confined);
  return is_most(core) ? core : std::pair(begin, end);
}

// A shape that comes for the first time replays the graph of the core, which other shapes have had, between steps that are
// launched one by one; when it comes again it is worth a graph of its own.
Status Context::run_on_gpu(int region, int begin, int end, int64_t tokens) {
  TENON_TRY(queue_->device().use());
  if (!replays_graphs_) return queue_->run_once([&] { return run_steps(begin, end, tokens); });
  const NvtxRange range(step_names_.empty() ? nullptr : "graph");
  const auto [it, is_new] = cores_.try_emplace(begin);
  if (is_new) {
    const auto [head, tail] = find_core(begin, end);
    it->second = {head, tail, symbols_of(begin, end), symbols_of(head, tail)};
  }
  const auto& [head, tail, symbols, core_symbols] = it->second;
  make_graph_key(region, begin, end, tokens, symbols);
  bool known = true;
  if (tail - head < end - begin) {
    TENON_ASSIGN(known, queue_->came_before(graph_key_));
  }
  if (known) {
    return queue_->run(graph_key_, [&] { return run_steps(begin, end, tokens); });
  }
  make_graph_key(region, head, tail, tokens, core_symbols);
  TENON_TRY(queue_->run_once([&, to = head] { return run_steps(begin, to, tokens); }));
  TENON_TRY(queue_->run(graph_key_, [&, from = head, to = tail] { return run_steps(from, to, tokens); }));
  return run_steps(tail, end, tokens);
}

// What kernels are given is decided by the layouts of both sides, up to this region, and the symbols of the steps' sizes.
void Context::make_graph_key(int region, int begin, int end, int64_t tokens, std::span<const size_t> symbols) {
  graph_key_.assign({begin, end, tokens, served_length_});
  for (int r = 0; r <= region; ++r) {
    for (const Side& side : regions_[static_cast<size_t>(r)].sides) {
      graph_key_.push_back(side.layout->id);
      graph_key_.push_back(side.arena.generation());
    }
  }
  for (const Buffer& staged : staged_inputs_) graph_key_.push_back(staged.generation());
  for (const size_t s : symbols) graph_key_.push_back(roomy_symbols_[s]);
  for (const auto& [input, copy] : uploads_)
    graph_key_.push_back(inputs_.on_device(input) ? static_cast<int64_t>(reinterpret_cast<intptr_t>(data_[static_cast<size_t>(input)])) : 0);
}

// Graphs read inputs where they were when they were recorded.
Status Context::stage_inputs() {
  for (size_t i = 0; i < plan().inputs.size(); ++i) {
    if (!read_by_device_[i] || inputs_.on_device(static_cast<int>(i))) continue;
    const auto count = checked_numel(inputs_.shape(static_cast<int>(i)));
    const size_t bytes = static_cast<size_t>(count.value_or(0)) * dtype_size(plan().inputs[i].type.dtype);
    TENON_TRY(staged_inputs_[i].reserve(bytes, memory_limit_));
    if (bytes > 0) std::memcpy(staged_inputs_[i].data(), data_[i], bytes);
    data_[i] = staged_inputs_[i].data();
  }
  return {};
}

}  // namespace tenon::runtime
