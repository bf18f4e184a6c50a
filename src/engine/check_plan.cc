// What a plan from a file must satisfy before the runtime may trust it.
#include <algorithm>
#include <map>
#include <set>

#include "base/checked.h"
#include "engine/format.h"
#include "engine/plan.h"
#include "ops/op_def.h"

namespace tenon::engine {
namespace {

template <class... Args>
Status bad(fmt::format_string<Args...> format, Args&&... args) {
  return Status(ErrorCode::kBadEngine, "the engine's plan is damaged: " + fmt::format(format, std::forward<Args>(args)...));
}

int size_of(const auto& items) { return static_cast<int>(items.size()); }

bool is_index(int i, const auto& items) { return i >= 0 && i < size_of(items); }

// Bytes of a tensor with constant shape; nothing when it is not constant or too large.
std::optional<int64_t> const_bytes(const TensorType& type) {
  if (!ir::all_const(type.shape)) return std::nullopt;
  const auto n = checked_numel(ir::const_values(type.shape));
  return n ? checked_mul(*n, static_cast<int64_t>(dtype_size(type.dtype))) : std::nullopt;
}

class Checker {
 public:
  Checker(const Plan& plan, uint64_t weight_bytes) : plan_(plan), weight_bytes_(weight_bytes) {}

  Result<PlanFacts> run() {
    TENON_TRY(check_regions());
    TENON_TRY(check_weights());
    TENON_TRY(check_values());
    TENON_TRY(check_definitions());
    TENON_TRY(check_symbols());
    for (int i = 0; i < size_of(plan_.steps); ++i) {
      if (Status s = check_step(i); !s.ok()) return bad("{}: {}", describe_step(plan_, i), s.message());
    }
    TENON_TRY(place_values());
    TENON_TRY(check_outputs());
    TENON_TRY(check_absorbed());
    TENON_TRY(check_profiles());
    return std::move(facts_);
  }

 private:
  const PlanValue& value(int id) const { return plan_.values[static_cast<size_t>(id)]; }
  int& region_of_value(int id) { return facts_.value_region[static_cast<size_t>(id)]; }

  Status check_regions() const {
    int at = 0;
    for (const PlanRegion& r : plan_.regions) {
      if (r.begin != at || r.end < r.begin) return bad("its regions do not follow one another");
      at = r.end;
    }
    if (at != size_of(plan_.steps) || plan_.regions.empty()) return bad("its regions do not cover its steps");
    return {};
  }

  Status check_weights() const {
    for (const PlanWeight& w : plan_.weights) {
      const auto bytes = const_bytes(w.type);
      if (!bytes || static_cast<uint64_t>(*bytes) != w.bytes) return bad("weight {} has {} bytes for type {}", w.name, w.bytes, w.type.to_string());
      if (w.offset % kWeightAlignment != 0 || w.offset > weight_bytes_ || w.bytes > weight_bytes_ - w.offset) {
        return bad("weight {} lies outside of the weights", w.name);
      }
    }
    return {};
  }

  Status check_values() const {
    const int inputs = size_of(plan_.inputs);
    if (size_of(plan_.values) < inputs) return bad("inputs without values");
    for (int id = 0; id < size_of(plan_.values); ++id) {
      const PlanValue& v = value(id);
      if ((v.kind == PlanValue::Kind::kInput) != (id < inputs)) return bad("value %{} is an input out of place", v.name);
      if (v.kind == PlanValue::Kind::kInput && v.place != Place::kHost) return bad("input %{} is not in host memory", v.name);
      if (v.kind == PlanValue::Kind::kInput && (v.source != id || !(v.type == plan_.inputs[static_cast<size_t>(id)].type))) {
        return bad("value %{} does not agree with its input", v.name);
      }
      if (v.kind == PlanValue::Kind::kWeight) {
        if (!is_index(v.source, plan_.weights)) return bad("value %{} has no weight", v.name);
        const PlanWeight& w = plan_.weights[static_cast<size_t>(v.source)];
        if (!const_bytes(v.type) || (w.layout.empty() && !(w.type == v.type))) return bad("value %{} does not agree with its weight", v.name);
      }
      if (v.alias_of < 0) {
        if (v.in_place) return bad("value %{} overwrites nothing", v.name);
        continue;
      }
      if (v.kind != PlanValue::Kind::kTemporary || v.alias_of >= id) return bad("value %{} shares the memory of a later one", v.name);
      const PlanValue& root = value(root_of(plan_, id));
      if (v.place != root.place) return bad("value %{} shares memory of another device", v.name);
      if (v.in_place && root.kind != PlanValue::Kind::kTemporary) return bad("value %{} overwrites an input or a weight", v.name);
      if (!v.in_place && value(v.alias_of).type.dtype != v.type.dtype) return bad("value %{} is a view of another type", v.name);
      if (is_packed(v.alias_of)) return bad("value %{} is a view of a packed weight", v.name);
    }
    std::set<std::string_view> names;
    for (const PlanInput& in : plan_.inputs)
      if (in.limit < 0 || !names.insert(in.name).second) return bad("input \"{}\" appears twice", in.name);
    return {};
  }

  bool is_packed(int id) const {
    const PlanValue& v = value(id);
    return v.kind == PlanValue::Kind::kWeight && !plan_.weights[static_cast<size_t>(v.source)].layout.empty();
  }

  bool is_view(int id) const { return value(id).alias_of >= 0 && !value(id).in_place; }

  // The value that holds `id`'s bytes first: views are looked through, in-place results are not.
  int viewed(int id) const {
    while (is_view(id)) id = value(id).alias_of;
    return id;
  }

  Status check_definitions() {
    step_of_.assign(plan_.values.size(), -1);
    int step = 0;
    for (const PlanStep& s : plan_.steps) {
      for (int in : s.inputs) {
        if (in != -1 && !is_defined(in)) return bad("step {} reads a value that is not defined before it", step);
      }
      for (int out : s.outputs) {
        if (!is_index(out, plan_.values) || value(out).kind != PlanValue::Kind::kTemporary || is_view(out) || step_of_[static_cast<size_t>(out)] >= 0) {
          return bad("step {} writes what it must not", step);
        }
        const bool overwrites_input = std::any_of(s.inputs.begin(), s.inputs.end(), [&](int in) {
          return in >= 0 && root_of(plan_, in) == root_of(plan_, out);
        });
        if (value(out).in_place && !overwrites_input) return bad("step {} overwrites what it does not read", step);
      }
      for (int out : s.outputs) step_of_[static_cast<size_t>(out)] = step;
      ++step;
    }
    return {};
  }

  bool is_defined(int id) const {
    if (!is_index(id, plan_.values)) return false;
    const int v = viewed(id);
    return value(v).kind != PlanValue::Kind::kTemporary || step_of_[static_cast<size_t>(v)] >= 0;
  }

  int region_of_step(int step) const {
    const auto it = std::find_if(plan_.regions.begin(), plan_.regions.end(), [&](const PlanRegion& r) { return step < r.end; });
    return static_cast<int>(it - plan_.regions.begin());
  }

  Status check_symbols() {
    for (const PlanSymbol& s : plan_.symbols) {
      int region = 0;
      if (s.input >= 0) {
        if (!is_index(s.input, plan_.inputs) || s.value != -1) return bad("symbol {} has no input", s.name);
        const Shape& shape = plan_.inputs[static_cast<size_t>(s.input)].type.shape;
        if (!is_index(s.axis, shape) || shape[static_cast<size_t>(s.axis)] != Dim::symbol(s.name)) return bad("symbol {} is not an axis of its input", s.name);
      } else {
        if (!is_defined(s.value)) return bad("symbol {} has no value", s.name);
        const int from = viewed(s.value);
        if (step_of_[static_cast<size_t>(from)] < 0 || value(s.value).type != TensorType{DType::kI64, {}}) {
          return bad("symbol {} is not a computed i64 scalar", s.name);
        }
        TENON_TRY(require_known(s.bound, plan_.regions.size()));
        region = region_of_step(step_of_[static_cast<size_t>(from)]) + 1;
      }
      if (!symbols_.emplace(s.name, size_of(facts_.symbol_region)).second) return bad("symbol {} appears twice", s.name);
      facts_.symbol_region.push_back(region);
    }
    for (const PlanInput& in : plan_.inputs)
      for (const Dim& d : in.type.shape) TENON_TRY(require_known(d, 0));
    for (const Dim& d : {plan_.texts, plan_.length}) TENON_TRY(require_known(d, 0));
    return require_known(plan_.tokens, plan_.regions.size());
  }

  // The first region that knows all symbols of `d`; nothing when one has no value at all.
  std::optional<int> region_of(const Dim& d) const {
    std::set<std::string> names;
    d.collect_symbols(names);
    int region = 0;
    for (const std::string& name : names) {
      const auto it = symbols_.find(name);
      if (it == symbols_.end()) return std::nullopt;
      region = std::max(region, facts_.symbol_region[static_cast<size_t>(it->second)]);
    }
    return region;
  }

  Status require_known(const Dim& d, size_t by_region) const {
    const auto region = region_of(d);
    if (!region || static_cast<size_t>(*region) > by_region) return bad("size {} is not known where it is needed", d.to_string());
    return {};
  }

  Status check_step(int step) {
    const PlanStep& s = plan_.steps[static_cast<size_t>(step)];
    const ops::OpDef& def = ops::op_def(s.op);
    const int region = region_of_step(step);
    if (s.op == ir::Op::k_constant) return bad("constants are weights");
    if (s.kernels.empty()) return bad("no kernel");
    for (const KernelChoice& k : s.kernels)
      if (k.code != -1 && !is_index(k.code, plan_.codes)) return bad("no code {} for {}", k.code, k.kernel);
    const bool variadic = !def.inputs.empty() && def.inputs.back().arity == ops::Arity::kVariadic;
    if (!variadic && s.inputs.size() > def.inputs.size()) return bad("too many inputs");
    for (size_t i = 0; i < def.inputs.size(); ++i) {
      if (def.inputs[i].arity != ops::Arity::kOptional && (i >= s.inputs.size() || s.inputs[i] < 0)) return bad("input '{}' is missing", def.inputs[i].name);
    }
    for (size_t i = def.inputs.size(); s.op != ir::Op::k_plugin && i < s.inputs.size(); ++i)
      if (s.inputs[i] < 0) return bad("input {} is missing", i);

    if (s.attrs.all().size() != def.attrs.size()) return bad("attributes are not as defined");
    for (const ops::AttrDef& a : def.attrs) {
      const ir::AttrValue* found = s.attrs.find(a.name);
      if (found == nullptr || found->index() != a.fallback.index()) return bad("attribute '{}' is missing or of another kind", a.name);
      if (const Shape* shape = std::get_if<Shape>(found))
        for (const Dim& d : *shape) TENON_TRY(require_known(d, static_cast<size_t>(region)));
    }

    std::vector<ops::InferContext::Input> inputs;
    for (int in : s.inputs) inputs.push_back({in < 0 ? nullptr : &value(in).type, nullptr, nullptr});
    for (int id : s.inputs)
      if (id >= 0) TENON_TRY(require_known_shape(id, region));
    for (int id : s.outputs) TENON_TRY(require_known_shape(id, region));
    ops::InferContext context(s.attrs, std::move(inputs));
    TENON_TRY(def.infer(context));
    if (context.types.size() != s.outputs.size()) return bad("{} outputs, {} expected", s.outputs.size(), context.types.size());
    for (size_t i = 0; i < s.outputs.size(); ++i) {
      if (context.types[i] == value(s.outputs[i]).type) continue;
      return bad("output {} is typed {}, expected {}", i, value(s.outputs[i]).type.to_string(), context.types[i].to_string());
    }
    for (auto& [a, b] : context.assumed_equal) {
      if (a == b) continue;
      TENON_TRY(require_known(a, static_cast<size_t>(region)));
      TENON_TRY(require_known(b, static_cast<size_t>(region)));
      facts_.equalities.push_back({std::move(a), std::move(b), region});
    }
    return {};
  }

  // A step that absorbs may leave out the one ahead: nothing else reads what that makes. After the outputs were checked.
  Status check_absorbed() const {
    std::vector<int> readers(plan_.values.size(), 0);  // of each root
    const auto read = [&](int v) {
      if (v >= 0) ++readers[static_cast<size_t>(root_of(plan_, v))];
    };
    for (const PlanStep& s : plan_.steps)
      for (int in : s.inputs) read(in);
    for (const PlanOutput& out : plan_.outputs) read(out.value), read(out.packed_value);
    for (const PlanSymbol& s : plan_.symbols) read(s.value);
    read(plan_.row_offsets_value);
    for (int i = 0; i < size_of(plan_.steps); ++i) {
      const PlanStep& step = plan_.steps[static_cast<size_t>(i)];
      if (!absorbs_previous(step)) continue;
      if (i == 0 || region_of_step(i - 1) != region_of_step(i)) return bad("{}: no step ahead", describe_step(plan_, i));
      for (int made : plan_.steps[static_cast<size_t>(i) - 1].outputs) {
        const int root = root_of(plan_, made);
        const auto own = std::ranges::count_if(step.inputs, [&](int in) { return in >= 0 && root_of(plan_, in) == root; });
        if (own != readers[static_cast<size_t>(root)]) return bad("{}: the step ahead is needed elsewhere, too", describe_step(plan_, i));
      }
    }
    return {};
  }

  Status require_known_shape(int id, int region) const {
    for (const Dim& d : value(id).type.shape) TENON_TRY(require_known(d, static_cast<size_t>(region)));
    return {};
  }

  Status place_values() {
    facts_.value_region.assign(plan_.values.size(), 0);
    for (int id = 0; id < size_of(plan_.values); ++id) {
      const PlanValue& v = value(id);
      if (v.kind != PlanValue::Kind::kTemporary) continue;
      if (!is_defined(id)) return bad("value %{} is never computed", v.name);
      if (!is_view(id)) {
        region_of_value(id) = region_of_step(step_of_[static_cast<size_t>(id)]);
        continue;
      }
      int region = region_of_value(v.alias_of);
      for (const Dim& d : v.type.shape) {
        const auto known = region_of(d);
        if (!known) return bad("the shape of value %{} is not known", v.name);
        region = std::max(region, *known);
      }
      if (region >= size_of(plan_.regions)) return bad("the shape of value %{} is known too late", v.name);
      region_of_value(id) = region;
    }
    return {};
  }

  Status check_outputs() const {
    std::set<std::string_view> names;
    for (const PlanOutput& out : plan_.outputs) {
      if (!names.insert(out.name).second) return bad("output \"{}\" appears twice", out.name);
      if (!is_defined(out.value) || is_packed(out.value)) return bad("output \"{}\" has no value", out.name);
      if (value(out.value).place != Place::kHost) return bad("output \"{}\" is not in host memory", out.name);
      if (out.packed_value == -1) continue;
      if (!is_defined(out.packed_value) || value(out.packed_value).kind != PlanValue::Kind::kTemporary || plan_.row_offsets_value < 0) {
        return bad("output \"{}\" has no packed rows", out.name);
      }
      const TensorType &full = value(out.value).type, &rows = value(out.packed_value).type;
      const bool matches = full.dtype == rows.dtype && full.rank() >= 2 && rows.rank() + 1 == full.rank() &&
                           std::equal(full.shape.begin() + 2, full.shape.end(), rows.shape.begin() + 1, rows.shape.end());
      if (!matches) return bad("output \"{}\" and its packed rows differ in type", out.name);
    }
    const int offsets = plan_.row_offsets_value;
    if (offsets != -1) {
      if (!is_defined(offsets) || value(offsets).type.dtype != DType::kI32 || value(offsets).type.rank() != 1) return bad("it has no row offsets");
    }
    const int mask = plan_.packing_mask_input;
    if (mask != -1 && (!is_index(mask, plan_.inputs) || plan_.inputs[static_cast<size_t>(mask)].type.rank() != 2)) return bad("it has no mask");
    return {};
  }

  Status check_profiles() const {
    for (const Profile& p : plan_.profiles) {
      for (const Profile::Range& r : p.ranges) {
        const auto in = std::find_if(plan_.inputs.begin(), plan_.inputs.end(), [&](const PlanInput& i) { return i.name == r.input; });
        if (in == plan_.inputs.end()) return bad("a profile names the unknown input \"{}\"", r.input);
        const size_t rank = in->type.shape.size();
        if (r.min.size() != rank || r.opt.size() != rank || r.max.size() != rank) return bad("a profile of \"{}\" has another rank", r.input);
        for (size_t i = 0; i < rank; ++i)
          if (r.min[i] < 0 || r.min[i] > r.opt[i] || r.opt[i] > r.max[i]) return bad("a profile of \"{}\" is not ordered", r.input);
      }
    }
    return {};
  }

  const Plan& plan_;
  const uint64_t weight_bytes_;
  PlanFacts facts_;
  std::vector<int> step_of_;  // per value: the step that writes it; -1: none
  std::map<std::string, int> symbols_;
};

}  // namespace

Result<PlanFacts> check_plan(const Plan& plan, uint64_t weight_bytes) { return Checker(plan, weight_bytes).run(); }

}  // namespace tenon::engine
