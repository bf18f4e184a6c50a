// Damaged, truncated, foreign and forged engine files: each gives a named error, none a crash.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>

#include "engine/format.h"
#include "engine/reader.h"
#include "plan/weight_table.h"
#include "tests/support/hostile_engines.h"
#include "tests/support/small_models.h"

namespace tenon::test {
namespace {

using engine::EngineFile;
using engine::Plan;

Result<std::shared_ptr<const EngineFile>> open_bytes(const std::string& bytes) {
  auto memory = aligned_copy(bytes);
  const std::span<const std::byte> span(memory.get(), bytes.size());
  return EngineFile::from_bytes(span, memory, "hostile.tenon");
}

bool is_named(ErrorCode code) { return code == ErrorCode::kBadEngine || code == ErrorCode::kEngineVersion; }

void expect_refused(const std::string& bytes, const std::string& what) {
  const auto opened = open_bytes(bytes);
  ASSERT_FALSE(opened.ok()) << what;
  EXPECT_TRUE(is_named(opened.status().code())) << what << ": " << opened.status().message();
  EXPECT_NE(opened.status().message().find("hostile.tenon"), std::string::npos) << what << ": " << opened.status().message();
}

class Hostile : public testing::Test {
 protected:
  // For the CPU, and for the plain loops over the same weights.
  static void write_two_plans(const std::string& path, const ir::Graph& graph, const engine::Metadata& metadata) {
    plan::ExpressionNames names;
    plan::PlanOptions options;
    options.names = &names;
    plan::PlannedModel cpu = value_or_throw(plan::make_plan(graph, options));
    options.target = kernels::Target::kReference;
    plan::PlannedModel reference = value_or_throw(plan::make_plan(graph, options));
    plan::PlannedModel* const models[] = {&cpu, &reference};
    plan::place_weights(models);
    const Plan plans[] = {cpu.plan, reference.plan};
    value_or_throw(engine::write_engine(path, plans, metadata, [&](engine::StoredWeight w) { return models[w.plan]->make_weight(w.index); }));
  }

  void SetUp() override {
    const TemporaryPath path("engine");
    engine::Metadata metadata;
    metadata.tokenizer = "tokenizer";
    metadata.plans = {{kPackedModel, {}, {}}};
    write_two_plans(path.str(), *graph_from(kPackedModel, random_), metadata);
    std::ifstream file(path.str(), std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    ASSERT_TRUE(open_bytes(bytes_).ok());
  }
  Random random_;
  std::string bytes_;
};

TEST_F(Hostile, Truncations) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{100}, size_t{191}, size_t{192}, size_t{193}}) expect_refused(bytes_.substr(0, size), std::to_string(size));
  for (size_t i = 1; i < 16; ++i) expect_refused(bytes_.substr(0, bytes_.size() * i / 16), std::to_string(i) + "/16");
  expect_refused(bytes_.substr(0, bytes_.size() - 1), "last byte");
  expect_refused(bytes_ + "x", "one byte more");
}

TEST_F(Hostile, EveryBitCounts) {
  SCOPED_TRACE(random_.trace());
  for (int i = 0; i < 400; ++i) {
    const auto at = static_cast<size_t>(random_.integer(0, static_cast<int64_t>(bytes_.size()) - 1));
    const int bit = static_cast<int>(random_.integer(0, 7));
    std::string flipped = bytes_;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
    expect_refused(flipped, "bit " + std::to_string(bit) + " of byte " + std::to_string(at));
  }
}

TEST_F(Hostile, ForeignFiles) {
  expect_refused(std::string("\x08\x08\x12\x07pytorch", 11) + std::string(4000, 'x'), "an ONNX file");
  expect_refused(std::string("PK\x03\x04", 4) + std::string(4000, 0), "a zip file");
  expect_refused(std::string(100000, '\0'), "zeros");
  expect_refused("graph @main() {}", "text");
  const auto folder = EngineFile::open(testing::TempDir());
  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.status().code(), ErrorCode::kIo);
  const auto nothing = EngineFile::open("/no/such/engine");
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.status().code(), ErrorCode::kNotFound);
}

TEST_F(Hostile, ForgedHeaders) {
  using engine::Header;
  const std::pair<const char*, std::function<void(Header&)>> forgeries[] = {
      {"major version", [](Header& h) { h.major = 9; }},
      {"minor version", [](Header& h) { h.minor = 77; }},
      {"flags", [](Header& h) { h.flags = 1; }},
      {"sections", [](Header& h) { h.section_count = 5; }},
      {"size", [](Header& h) { h.file_size = uint64_t{1} << 60; }},
      {"small size", [](Header& h) { h.file_size = 3; }},
      {"offset beyond", [](Header& h) { h.sections[0].offset = uint64_t{1} << 40; }},
      {"offset overflows", [](Header& h) { h.sections[0].offset = ~uint64_t{63}; }},
      {"size overflows", [](Header& h) { h.sections[0].size = ~uint64_t{0}; }},
      {"section on the header", [](Header& h) { h.sections[0].offset = 0; }},
      {"unaligned section", [](Header& h) { h.sections[0].offset += 1; }},
      {"unaligned weights", [](Header& h) { h.sections[3].offset += 64; }},
      {"sections swapped", [](Header& h) { std::swap(h.sections[0], h.sections[1]); }},
      {"texts as tables", [](Header& h) { h.sections[0] = h.sections[1]; h.sections[0].kind = 1; }},
      {"kind", [](Header& h) { h.sections[2].kind = 8; }},
      {"checksum", [](Header& h) { h.sections[3].checksum ^= 1; }},
  };
  for (const auto& [what, forge] : forgeries) expect_refused(forge_header(bytes_, forge), what);
}

// Plans that contradict themselves, in files that are otherwise sound.
TEST_F(Hostile, ForgedPlans) {
  const auto step_of = [](Plan& p, ir::Op op) -> engine::PlanStep& {
    for (auto& s : p.steps)
      if (s.op == op) return s;
    return p.steps[0];
  };
  const auto last = [](auto& items) -> auto& { return items.back(); };
  const std::pair<const char*, std::function<void(Plan&)>> forgeries[] = {
      {"input id", [](Plan& p) { p.steps[0].inputs[0] = 100000; }},
      {"negative input id", [](Plan& p) { p.steps[0].inputs[0] = -7; }},
      {"required input absent", [](Plan& p) { p.steps[0].inputs[0] = -1; }},
      {"output id", [](Plan& p) { p.steps[0].outputs[0] = 1 << 30; }},
      {"writes an input", [](Plan& p) { p.steps[0].outputs[0] = 0; }},
      {"writes a weight", [&](Plan& p) { for (size_t v = 0; v < p.values.size(); ++v) if (p.values[v].kind == engine::PlanValue::Kind::kWeight) p.steps[0].outputs[0] = static_cast<int>(v); }},
      {"reads the future", [&](Plan& p) { p.steps[0].inputs[0] = last(p.steps).outputs[0]; }},
      {"written twice", [&](Plan& p) { last(p.steps).outputs[0] = p.steps[0].outputs[0]; }},
      {"too many inputs", [](Plan& p) { p.steps[0].inputs.resize(50, 0); }},
      {"no outputs", [](Plan& p) { p.steps[0].outputs.clear(); }},
      {"no kernel", [](Plan& p) { p.steps[0].kernels.clear(); }},
      {"constant as a step", [](Plan& p) { p.steps[0].op = ir::Op::k_constant; }},
      {"another op", [](Plan& p) { p.steps[0].op = ir::Op::k_matmul; }},
      {"attribute missing", [&](Plan& p) { step_of(p, ir::Op::k_attention).attrs.erase("heads"); }},
      {"attribute of another kind", [&](Plan& p) { step_of(p, ir::Op::k_attention).attrs.set("heads", 2.0); }},
      {"attribute unknown", [&](Plan& p) { step_of(p, ir::Op::k_attention).attrs.set("color", int64_t{1}); }},
      {"attribute out of range", [&](Plan& p) { step_of(p, ir::Op::k_gather).attrs.set("axis", int64_t{77}); }},
      {"no heads", [&](Plan& p) { step_of(p, ir::Op::k_attention).attrs.set("heads", int64_t{0}); }},
      {"negative heads", [&](Plan& p) { step_of(p, ir::Op::k_attention).attrs.set("heads", int64_t{-4}); }},
      {"size without a symbol", [&](Plan& p) { step_of(p, ir::Op::k_unpack_tokens).attrs.set("shape", ir::Shape{ir::Dim::symbol("x"), ir::Dim(1)}); }},
      {"type", [&](Plan& p) { p.values[static_cast<size_t>(last(p.steps).outputs[0])].type.shape[0] = 1000000; }},
      {"dtype", [&](Plan& p) { p.values[static_cast<size_t>(last(p.steps).outputs[0])].type.dtype = DType::kI8; }},
      {"input type", [](Plan& p) { p.inputs[0].type.shape[1] = 5; }},
      {"input twice", [](Plan& p) { p.inputs[1].name = p.inputs[0].name; }},
      {"input value", [](Plan& p) { p.values[0].source = 2; }},
      {"inputs out of order", [](Plan& p) { std::swap(p.values[0], p.values[5]); }},
      {"no values", [](Plan& p) { p.values.clear(); }},
      {"symbol's axis", [](Plan& p) { p.symbols[0].axis = 9; }},
      {"symbol's input", [](Plan& p) { p.symbols[0].input = 9; }},
      {"symbol's value", [&](Plan& p) { last(p.symbols).value = last(p.steps).outputs[0]; }},
      {"symbol without value", [&](Plan& p) { last(p.symbols).value = -1; }},
      {"symbol missing", [](Plan& p) { p.symbols.pop_back(); }},
      {"symbol twice", [](Plan& p) { p.symbols.push_back(p.symbols[0]); }},
      {"bound of no symbol", [&](Plan& p) { last(p.symbols).bound = ir::Dim::symbol("x"); }},
      {"regions", [](Plan& p) { p.regions.clear(); }},
      {"region gap", [](Plan& p) { p.regions[1].begin += 1; }},
      {"region end", [](Plan& p) { p.regions[1].end += 1; }},
      {"one region", [](Plan& p) { p.regions = {{0, static_cast<int>(p.steps.size())}}; }},
      {"weight offset", [](Plan& p) { p.weights[0].offset = uint64_t{1} << 40; }},
      {"weight offset overflows", [](Plan& p) { p.weights[0].offset = ~uint64_t{63}; }},
      {"weight unaligned", [](Plan& p) { p.weights[0].offset += 4; }},
      {"weight bytes", [](Plan& p) { p.weights[0].bytes = 4; }},
      {"weight type", [](Plan& p) { p.weights[0].type.shape.push_back(1000); }},
      {"weight symbolic", [](Plan& p) { p.weights[0].type.shape[0] = ir::Dim::symbol("seq"); }},
      {"weight index", [&](Plan& p) { for (auto& v : p.values) if (v.kind == engine::PlanValue::Kind::kWeight) v.source = 99; }},
      {"alias of itself", [&](Plan& p) { for (size_t v = 0; v < p.values.size(); ++v) if (p.values[v].alias_of >= 0) p.values[v].alias_of = static_cast<int>(v); }},
      {"alias of a later one", [&](Plan& p) { for (auto& v : p.values) if (v.alias_of >= 0) v.alias_of = static_cast<int>(p.values.size()) - 1; }},
      {"alias beyond", [&](Plan& p) { for (auto& v : p.values) if (v.alias_of >= 0) v.alias_of = 1 << 20; }},
      {"overwrites an input", [](Plan& p) { auto& v = p.values[static_cast<size_t>(p.steps[0].outputs[0])]; v.alias_of = 0; v.in_place = true; }},
      {"overwrites nothing", [](Plan& p) { p.values[static_cast<size_t>(p.steps[0].outputs[0])].in_place = true; }},
      {"output", [](Plan& p) { p.outputs[0].value = -1; }},
      {"output beyond", [](Plan& p) { p.outputs[0].value = 5000; }},
      {"output twice", [](Plan& p) { p.outputs[1].name = p.outputs[0].name; }},
      {"packed rows", [](Plan& p) { p.outputs[0].packed_value = 0; }},
      {"row offsets", [](Plan& p) { p.row_offsets_value = 0; }},
      {"length", [](Plan& p) { p.length = ir::Dim::symbol("tokens of nobody"); }},
      {"no step ahead, outputs beyond", [](Plan& p) {
         for (auto& s : p.steps) s.kernels[0].absorbs = true;
         for (auto& out : p.outputs) out.value = out.packed_value = 1 << 20;
         p.row_offsets_value = 1 << 20;
       }},
      {"no step ahead", [](Plan& p) { p.steps[0].kernels[0].absorbs = true; }},
      {"a step ahead that others read", [](Plan& p) {
         for (size_t i = 1; i < p.steps.size(); ++i) {
           const int made = p.steps[i - 1].outputs[0];
           const auto reads = [&](const engine::PlanStep& s) { return std::ranges::count(s.inputs, made) > 0; };
           if (!reads(p.steps[i]) || std::ranges::count_if(p.steps, reads) > 1) p.steps[i].kernels[0].absorbs = true;
         }
       }},
      {"mask", [](Plan& p) { p.packing_mask_input = 40; }},
      {"tokens", [](Plan& p) { p.tokens = ir::Dim::symbol("x"); }},
      {"profile of no input", [](Plan& p) { p.profiles = {{{{"x", {1}, {1}, {1}}}}}; }},
      {"profile's rank", [](Plan& p) { p.profiles = {{{{"input_ids", {1}, {1}, {1}}}}}; }},
      {"profile's order", [](Plan& p) { p.profiles = {{{{"input_ids", {1, 9}, {1, 5}, {1, 9}}}}}; }},
      {"limit", [](Plan& p) { p.inputs[0].limit = -1; }},
  };
  for (const auto& [what, forge] : forgeries)
    for (const size_t which : {0, 1}) expect_refused(forge_plan(bytes_, forge, which), what);
}

TEST_F(Hostile, EveryPlanReadsItsOwnWeights) {
  const auto file = value_or_throw(open_bytes(bytes_));
  ASSERT_EQ(file->plans().size(), 2u);
  EXPECT_EQ(value_or_throw(file->read_texts()).plans.size(), 2u);
  for (const engine::PlanWeight& w : file->plan(1).weights) {
    for (const engine::PlanWeight& twin : file->plan(0).weights) {
      if (twin.name == w.name && twin.layout == w.layout) {
        EXPECT_EQ(twin.offset, w.offset) << w.name;
      }
    }
  }
  EXPECT_TRUE(run_once(bytes_));
}

// What the reader cannot know, the runtime refuses when it prepares the engine.
TEST_F(Hostile, ForgedKernels) {
  const std::pair<const char*, std::function<void(Plan&)>> forgeries[] = {
      {"unknown kernel", [](Plan& p) { p.steps[0].kernels[0].kernel = "cuda.magic"; }},
      {"newer kernel", [](Plan& p) { p.steps[0].kernels[0].version = 1000; }},
      {"target", [](Plan& p) { p.target = "tpu"; }},
      {"layout of nobody", [](Plan& p) { for (auto& w : p.weights) w.layout = "magic"; }},
      {"kernel of another op", [](Plan& p) { for (auto& s : p.steps) s.kernels[0].kernel = "cpu.linear.f32"; }},
      {"absorbs what it does not compute", [](Plan& p) {
         for (size_t i = 1; i < p.steps.size(); ++i) {
           const int made = p.steps[i - 1].outputs[0];
           const auto reads = [&](const engine::PlanStep& s) { return std::ranges::count(s.inputs, made) > 0; };
           if (reads(p.steps[i]) && std::ranges::count_if(p.steps, reads) == 1) p.steps[i].kernels[0].absorbs = true;
         }
       }},
      {"a GPU's kernel for a CPU", [](Plan& p) { for (auto& s : p.steps) s.kernels[0] = {"cuda.pointwise", 1, "", 0, -1}; }},
  };
  for (const auto& [what, forge] : forgeries) {
    for (const size_t which : {0, 1}) {
      const auto opened = open_bytes(forge_plans(bytes_, [&](std::vector<Plan>& plans) {
        plans = {plans[which]};
        forge(plans[0]);
      }));
      Status status = opened.status();
      if (opened.ok()) status = runtime::Executable::prepare(*opened, std::make_shared<ThreadPool>(1)).status();
      EXPECT_TRUE(is_named(status.code())) << what << ": " << status.message();
    }
  }
}

// Random damage behind right checksums: loads or is refused, and what loads runs or says why not.
TEST_F(Hostile, DamageBehindRightChecksums) {
  SCOPED_TRACE(random_.trace());
  int loaded = 0;
  for (int i = 0; i < 1500; ++i) {
    std::string damaged = bytes_;
    engine::Header header;
    std::memcpy(&header, damaged.data(), sizeof header);
    for (int64_t n = random_.integer(1, 3); n > 0; --n) {
      const auto at = static_cast<int64_t>(header.sections[0].offset) + random_.integer(0, static_cast<int64_t>(header.sections[0].size) - 1);
      damaged[static_cast<size_t>(at)] = static_cast<char>(random_.chance(0.5) ? random_.integer(0, 255) : damaged[static_cast<size_t>(at)] ^ (1 << random_.integer(0, 7)));
    }
    loaded += run_once(repair_checksums(damaged));
  }
  RecordProperty("loaded", loaded);
}

}  // namespace
}  // namespace tenon::test
