#include <flatbuffers/flatbuffers.h>

#include "engine/engine_generated.h"
#include "engine/tables.h"

namespace tenon::engine {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using flatbuffers::String;
template <class T>
using Vector = Offset<flatbuffers::Vector<T>>;

class Encoder {
 private:
  template <class Items, class F>
  auto list(const Items& items, F&& encode_one) {
    std::vector<decltype(encode_one(*items.begin()))> offsets;
    offsets.reserve(items.size());
    for (const auto& item : items) offsets.push_back(encode_one(item));
    return b_.CreateVector(offsets);
  }

 public:
  std::vector<std::byte> tables(std::span<const Plan> plans, const Metadata& m) {
    const auto first = encode(plans.front());
    const auto version = text(m.tenon_version), source = text(m.model_source), architecture = text(m.architecture), task = text(m.task);
    const auto labels = texts(m.labels);
    const auto properties = map(m.properties);
    const auto notes = texts(m.notes);
    const auto options = map(m.build_options);
    Vector<Offset<fb::Plan>> others;
    if (plans.size() > 1) others = list(plans.subspan(1), [&](const Plan& plan) { return encode(plan); });
    b_.Finish(fb::CreateTables(b_, first, version, source, architecture, task, labels, properties, notes, options, others));
    return take();
  }

  std::vector<std::byte> texts_section(const Metadata& m) {
    static const PlanTexts kNone;
    const std::span plans(m.plans);
    const PlanTexts& first = plans.empty() ? kNone : plans.front();
    const auto imported = text(m.graph_imported), compiled = text(first.graph_compiled);
    const auto decided = decisions(first);
    const auto came_from = origins(first);
    Vector<Offset<fb::PlanTexts>> others;
    if (plans.size() > 1) {
      others = list(plans.subspan(1), [&](const PlanTexts& p) {
        const auto graph = text(p.graph_compiled);
        const auto own_decisions = decisions(p);
        return fb::CreatePlanTexts(b_, graph, own_decisions, origins(p));
      });
    }
    b_.Finish(fb::CreateTexts(b_, imported, compiled, decided, came_from, others));
    return take();
  }

 private:
  std::vector<std::byte> take() {
    const auto* data = reinterpret_cast<const std::byte*>(b_.GetBufferPointer());
    return {data, data + b_.GetSize()};
  }

  Vector<Offset<fb::Decision>> decisions(const PlanTexts& texts) {
    return list(texts.decisions, [&](const Decision& d) {
      const auto pass = text(d.pass), node = text(d.node), decision = text(d.decision), reason = text(d.reason);
      return fb::CreateDecision(b_, pass, node, decision, reason);
    });
  }
  Vector<Offset<fb::ValueOrigin>> origins(const PlanTexts& texts) {
    return list(texts.origins, [&](const ValueOrigin& o) {
      const auto value = text(o.value), source = text(o.source), kind = text(o.kind);
      return fb::CreateValueOrigin(b_, value, source, kind);
    });
  }

  Offset<String> text(const std::string& s) { return b_.CreateSharedString(s); }
  Offset<String> dim(const Dim& d) { return text(d.to_string()); }

  Vector<Offset<String>> texts(const std::vector<std::string>& items) {
    return list(items, [&](const std::string& s) { return text(s); });
  }
  Vector<Offset<String>> dims(const Shape& shape) {
    return list(shape, [&](const Dim& d) { return dim(d); });
  }
  Vector<Offset<fb::Property>> map(const std::map<std::string, std::string>& items) {
    return list(items, [&](const auto& item) {
      const auto name = text(item.first), value = text(item.second);
      return fb::CreateProperty(b_, name, value);
    });
  }

  Offset<fb::Type> encode(const TensorType& type) {
    const auto shape = dims(type.shape);
    return fb::CreateType(b_, static_cast<uint8_t>(type.dtype), shape);
  }

  Offset<fb::Attr> encode(const std::string& name, const ir::AttrValue& value) {
    const auto name_offset = text(name);
    Offset<String> string;
    Vector<int64_t> integers;
    Vector<double> numbers;
    Vector<Offset<String>> shape;
    if (const auto* n = std::get_if<std::vector<double>>(&value)) numbers = b_.CreateVector(*n);
    if (const auto* s = std::get_if<std::string>(&value)) string = text(*s);
    if (const auto* v = std::get_if<std::vector<int64_t>>(&value)) integers = b_.CreateVector(*v);
    if (const auto* d = std::get_if<Shape>(&value)) shape = dims(*d);
    fb::AttrBuilder attr(b_);
    attr.add_name(name_offset);
    attr.add_kind(static_cast<uint8_t>(value.index()));
    if (const auto* i = std::get_if<int64_t>(&value)) attr.add_integer(*i);
    if (const auto* t = std::get_if<DType>(&value)) attr.add_integer(static_cast<int64_t>(*t));
    if (const auto* n = std::get_if<double>(&value)) attr.add_number(*n);
    if (!string.IsNull()) attr.add_text(string);
    if (!integers.IsNull()) attr.add_integers(integers);
    if (!shape.IsNull()) attr.add_dims(shape);
    if (!numbers.IsNull()) attr.add_numbers(numbers);
    return attr.Finish();
  }

  Offset<fb::Value> encode(const PlanValue& v) {
    const auto name = text(v.name);
    const auto type = encode(v.type);
    return fb::CreateValue(b_, name, type, static_cast<uint8_t>(v.kind), v.source, v.alias_of, v.in_place, static_cast<uint8_t>(v.place));
  }

  Offset<fb::Weight> encode(const PlanWeight& w) {
    const auto name = text(w.name), layout = text(w.layout);
    const auto type = encode(w.type);
    return fb::CreateWeight(b_, name, type, layout, w.offset, w.bytes);
  }

  Offset<fb::Step> encode(const PlanStep& s) {
    const auto op = text(std::string(ir::op_name(s.op))), origin = text(s.origin);
    const auto attrs = list(s.attrs.all(), [&](const auto& attr) { return encode(attr.first, attr.second); });
    const auto inputs = b_.CreateVector(s.inputs), outputs = b_.CreateVector(s.outputs);
    const auto kernels = list(s.kernels, [&](const KernelChoice& k) {
      const auto kernel = text(k.kernel), config = text(k.config);
      return fb::CreateKernelChoice(b_, kernel, k.version, config, k.max_tokens, k.code, k.max_length, k.absorbs);
    });
    return fb::CreateStep(b_, op, attrs, inputs, outputs, kernels, origin);
  }

  Offset<fb::Profile> encode(const Profile& p) {
    const auto ranges = list(p.ranges, [&](const Profile::Range& r) {
      const auto input = text(r.input);
      const auto min = b_.CreateVector(r.min), opt = b_.CreateVector(r.opt), max = b_.CreateVector(r.max);
      return fb::CreateRange(b_, input, min, opt, max);
    });
    return fb::CreateProfile(b_, ranges);
  }

  Offset<fb::Plan> encode(const Plan& p) {
    const auto inputs = list(p.inputs, [&](const PlanInput& in) {
      const auto name = text(in.name), role = text(in.role);
      const auto type = encode(in.type);
      return fb::CreateInput(b_, name, type, role, in.limit);
    });
    const auto outputs = list(p.outputs, [&](const PlanOutput& out) { return fb::CreateOutput(b_, text(out.name), out.value, out.packed_value); });
    const auto symbols = list(p.symbols, [&](const PlanSymbol& s) {
      const auto name = text(s.name), bound = dim(s.bound);
      return fb::CreateSymbol(b_, name, s.input, s.axis, s.value, bound, s.limit);
    });
    const auto values = list(p.values, [&](const PlanValue& v) { return encode(v); });
    const auto weights = list(p.weights, [&](const PlanWeight& w) { return encode(w); });
    const auto steps = list(p.steps, [&](const PlanStep& s) { return encode(s); });
    std::vector<fb::Region> region_list;
    for (const PlanRegion& r : p.regions) region_list.emplace_back(r.begin, r.end);
    const auto regions = b_.CreateVectorOfStructs(region_list);
    const auto profiles = list(p.profiles, [&](const Profile& profile) { return encode(profile); });
    const auto codes = list(p.codes, [&](const PlanCode& c) {
      const auto source = text(c.source), entry = text(c.entry), arch = text(c.arch);
      const auto cubin = b_.CreateVector(reinterpret_cast<const uint8_t*>(c.cubin.data()), c.cubin.size());
      Vector<uint8_t> ptx;
      if (!c.ptx.empty()) ptx = b_.CreateVector(reinterpret_cast<const uint8_t*>(c.ptx.data()), c.ptx.size());
      return fb::CreateCode(b_, source, entry, arch, cubin, ptx);
    });
    const auto target = text(p.target), tokens = dim(p.tokens), texts = dim(p.texts), length = dim(p.length);
    return fb::CreatePlan(b_, target, inputs, outputs, symbols, values, weights, steps, regions, profiles, tokens,
                          p.packing_mask_input, p.row_offsets_value, codes, texts, length);
  }

  FlatBufferBuilder b_;
};

}  // namespace

std::vector<std::byte> encode_tables(std::span<const Plan> plans, const Metadata& metadata) { return Encoder().tables(plans, metadata); }

std::vector<std::byte> encode_texts(const Metadata& metadata) { return Encoder().texts_section(metadata); }

}  // namespace tenon::engine
