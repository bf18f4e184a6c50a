#include <flatbuffers/flatbuffers.h>

#include <algorithm>
#include <cstring>

#include "engine/engine_generated.h"
#include "engine/tables.h"
#include "ops/op_def.h"

namespace tenon::engine {
namespace {

constexpr size_t kMaxDimText = 256;
constexpr int kMaxDimFactors = 12;  // keeps the expansion of a hostile product small
constexpr int kMaxRank = 16;

Status bad(const char* what) { return error(ErrorCode::kBadEngine, "the engine's tables are damaged: {}", what); }

std::string text(const flatbuffers::String* s) { return s != nullptr ? s->str() : std::string(); }

// The verifier lets vectors pass that a damaged file has put at odd addresses.
template <class T>
std::vector<T> numbers(const flatbuffers::Vector<T>* v) {
  std::vector<T> out(v != nullptr ? v->size() : 0);
  if (!out.empty()) std::memcpy(out.data(), v->Data(), out.size() * sizeof(T));
  return out;
}

// Calls f for each element; absent vectors are empty.
template <class T, class F>
Status each(const flatbuffers::Vector<flatbuffers::Offset<T>>* items, F&& f) {
  if (items == nullptr) return {};
  for (const T* item : *items) TENON_TRY(f(*item));
  return {};
}

Result<Dim> dim(const flatbuffers::String* s) {
  const std::string t = text(s);
  if (t.size() > kMaxDimText || std::count(t.begin(), t.end(), '*') > kMaxDimFactors) return bad("a size is too long");
  auto parsed = Dim::parse(t);
  if (!parsed.ok()) return error(ErrorCode::kBadEngine, "the engine's tables are damaged: {}", parsed.status().message());
  return parsed;
}

Result<Shape> shape(const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* dims, size_t max_size) {
  Shape out;
  if (dims == nullptr) return out;
  if (dims->size() > max_size) return bad("a shape is too long");
  for (const auto* s : *dims) {
    TENON_ASSIGN(Dim d, dim(s));
    out.push_back(std::move(d));
  }
  return out;
}

Result<DType> dtype(int64_t v) {
  if (v < 0 || v > static_cast<int64_t>(kLastDType)) return bad("unknown element type");
  return static_cast<DType>(v);
}

Result<TensorType> type(const fb::Type* t) {
  if (t == nullptr) return bad("a type is missing");
  TENON_ASSIGN(const DType element, dtype(t->dtype()));
  TENON_ASSIGN(Shape dims, shape(t->shape(), kMaxRank));
  return TensorType{element, std::move(dims)};
}

// Kinds are indices of ir::AttrValue's alternatives; tensors stand only in constants, which are weights here.
Result<ir::AttrValue> attr(const fb::Attr& a) {
  switch (a.kind()) {
    case 0: return ir::AttrValue(a.integer());
    case 1: return ir::AttrValue(a.number());
    case 2: return ir::AttrValue(text(a.text()));
    case 3: {
      TENON_ASSIGN(const DType t, dtype(a.integer()));
      return ir::AttrValue(t);
    }
    case 4: return ir::AttrValue(numbers(a.integers()));
    case 5: {
      TENON_ASSIGN(Shape dims, shape(a.dims(), 4096));
      return ir::AttrValue(std::move(dims));
    }
    case 7:
      return ir::AttrValue(numbers(a.numbers()));
    default: return bad("unknown kind of attribute");
  }
}

Result<PlanValue> value(const fb::Value& v) {
  PlanValue out;
  out.name = text(v.name());
  TENON_ASSIGN(out.type, type(v.type()));
  if (v.kind() > static_cast<uint8_t>(PlanValue::Kind::kTemporary)) return bad("unknown kind of value");
  out.kind = static_cast<PlanValue::Kind>(v.kind());
  out.source = v.source();
  out.alias_of = v.alias_of();
  out.in_place = v.in_place();
  if (v.place() > static_cast<uint8_t>(Place::kDevice)) return bad("unknown place of a value");
  out.place = static_cast<Place>(v.place());
  return out;
}

Result<PlanStep> step(const fb::Step& s) {
  PlanStep out;
  const auto op = ir::parse_op(text(s.op()));
  if (!op) return error(ErrorCode::kEngineVersion, "the engine uses the operator \"{}\", which this version does not know", text(s.op()));
  out.op = *op;
  TENON_TRY(each(s.attrs(), [&](const fb::Attr& a) -> Status {
    TENON_ASSIGN(ir::AttrValue v, attr(a));
    out.attrs.set(text(a.name()), std::move(v));
    return {};
  }));
  // An engine of an older version lacks the attributes that came later.
  for (const ops::AttrDef& a : ops::op_def(out.op).attrs) {
    if (!a.required && out.attrs.find(a.name) == nullptr) out.attrs.set(a.name, a.fallback);
  }
  out.inputs = numbers(s.inputs());
  out.outputs = numbers(s.outputs());
  TENON_TRY(each(s.kernels(), [&](const fb::KernelChoice& k) -> Status {
    out.kernels.push_back({text(k.kernel()), k.version(), text(k.config()), k.max_tokens(), k.code(), k.max_length(), k.absorbs()});
    return {};
  }));
  out.origin = text(s.origin());
  return out;
}

Status plan_io(const fb::Plan& p, Plan& plan) {
  TENON_TRY(each(p.inputs(), [&](const fb::Input& in) -> Status {
    TENON_ASSIGN(TensorType t, type(in.type()));
    plan.inputs.push_back({text(in.name()), std::move(t), text(in.role()), in.limit()});
    return {};
  }));
  TENON_TRY(each(p.outputs(), [&](const fb::Output& out) -> Status {
    plan.outputs.push_back({text(out.name()), out.value(), out.packed_value()});
    return {};
  }));
  TENON_TRY(each(p.symbols(), [&](const fb::Symbol& s) -> Status {
    TENON_ASSIGN(Dim bound, dim(s.bound()));
    plan.symbols.push_back({text(s.name()), s.input(), s.axis(), s.value(), std::move(bound), s.limit()});
    return {};
  }));
  return each(p.profiles(), [&](const fb::Profile& profile) -> Status {
    Profile out;
    TENON_TRY(each(profile.ranges(), [&](const fb::Range& r) -> Status {
      out.ranges.push_back({text(r.input()), numbers(r.min()), numbers(r.opt()), numbers(r.max())});
      return {};
    }));
    plan.profiles.push_back(std::move(out));
    return {};
  });
}

Status plan_body(const fb::Plan& p, Plan& plan) {
  TENON_TRY(each(p.values(), [&](const fb::Value& v) -> Status {
    TENON_ASSIGN(PlanValue out, value(v));
    plan.values.push_back(std::move(out));
    return {};
  }));
  TENON_TRY(each(p.weights(), [&](const fb::Weight& w) -> Status {
    TENON_ASSIGN(TensorType t, type(w.type()));
    plan.weights.push_back({text(w.name()), std::move(t), text(w.layout()), w.offset(), w.bytes()});
    return {};
  }));
  TENON_TRY(each(p.steps(), [&](const fb::Step& s) -> Status {
    TENON_ASSIGN(PlanStep out, step(s));
    plan.steps.push_back(std::move(out));
    return {};
  }));
  if (p.regions() != nullptr)
    for (const fb::Region* r : *p.regions()) plan.regions.push_back({r->begin(), r->end()});
  TENON_TRY(each(p.codes(), [&](const fb::Code& c) -> Status {
    const auto bytes = [](const auto* v) { return v == nullptr ? std::string() : std::string(v->begin(), v->end()); };
    plan.codes.push_back({text(c.source()), text(c.entry()), text(c.arch()), bytes(c.cubin()), bytes(c.ptx())});
    return {};
  }));
  plan.target = text(p.target());
  TENON_ASSIGN(plan.tokens, dim(p.tokens()));
  if (p.texts() != nullptr && p.length() != nullptr) {  // engines of older versions lack them
    TENON_ASSIGN(plan.texts, dim(p.texts()));
    TENON_ASSIGN(plan.length, dim(p.length()));
  }
  plan.packing_mask_input = p.packing_mask_input();
  plan.row_offsets_value = p.row_offsets_value();
  return {};
}

std::map<std::string, std::string> properties(const flatbuffers::Vector<flatbuffers::Offset<fb::Property>>* items) {
  std::map<std::string, std::string> out;
  if (items != nullptr)
    for (const fb::Property* p : *items) out[text(p->name())] = text(p->text());
  return out;
}

std::vector<std::string> texts(const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* items) {
  std::vector<std::string> out;
  if (items != nullptr)
    for (const auto* s : *items) out.push_back(text(s));
  return out;
}

// The root of a verified buffer; null when it is damaged.
template <class T>
const T* root(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  constexpr size_t kMaxDepth = 16, kMaxTables = 4'000'000;
  flatbuffers::Verifier verifier(data, bytes.size(), kMaxDepth, kMaxTables);
  return verifier.VerifyBuffer<T>(nullptr) ? flatbuffers::GetRoot<T>(data) : nullptr;
}

}  // namespace

Status decode_tables(std::span<const std::byte> bytes, std::vector<Plan>& plans, Metadata& m) {
  const auto* t = root<fb::Tables>(bytes);
  if (t == nullptr || t->plan() == nullptr) return bad("they cannot be read");
  const auto add_plan = [&](const fb::Plan& p) -> Status {
    TENON_TRY(plan_io(p, plans.emplace_back()));
    return plan_body(p, plans.back());
  };
  TENON_TRY(add_plan(*t->plan()));
  TENON_TRY(each(t->other_plans(), add_plan));
  m.tenon_version = text(t->tenon_version());
  m.model_source = text(t->model_source());
  m.architecture = text(t->architecture());
  m.task = text(t->task());
  m.labels = texts(t->labels());
  m.properties = properties(t->properties());
  m.notes = texts(t->notes());
  m.build_options = properties(t->build_options());
  return {};
}

Status decode_texts(std::span<const std::byte> bytes, Metadata& m) {
  const auto* t = root<fb::Texts>(bytes);
  if (t == nullptr) return bad("the texts cannot be read");
  m.graph_imported = text(t->graph_imported());
  // The first plan's stand in the table itself.
  const auto add_plan = [&](const auto& p) -> Status {
    PlanTexts& texts = m.plans.emplace_back();
    texts.graph_compiled = text(p.graph_compiled());
    TENON_TRY(each(p.decisions(), [&](const fb::Decision& d) -> Status {
      texts.decisions.push_back({text(d.pass()), text(d.node()), text(d.decision()), text(d.reason())});
      return {};
    }));
    return each(p.origins(), [&](const fb::ValueOrigin& o) -> Status {
      texts.origins.push_back({text(o.value()), text(o.source()), text(o.kind())});
      return {};
    });
  };
  TENON_TRY(add_plan(*t));
  return each(t->other_plans(), add_plan);
}

}  // namespace tenon::engine
