// trtexec's command line through the real program: the flags, what the documents that users work by have them type, the files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "tests/support/golden.h"
#include "tests/support/run_program.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Outcome;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kBert = "bert-enc-ts14-mask-types-sdpa-dyn";

// In a folder of its own, where the models of the golden corpus are called as users call them.
class Exec : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (const char* name : {"BERT.ONNX", "bert_model.onnx"}) fs::create_symlink(test::golden_folder() + "onnx/" + kBert + ".onnx", folder_ / name);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // `command` begins with trtexec or tenon.
  Outcome run(const std::string& command) const { return test::run_program(command, folder_); }
  Outcome passes(const std::string& command) const {
    const Outcome result = run(command);
    EXPECT_EQ(result.code, 0) << command << "\n" << result.log.substr(0, 2000);
    EXPECT_THAT(result.log, HasSubstr("&&&& PASSED")) << command;
    return result;
  }
  std::string fails(const std::string& command) const {
    const Outcome result = run(command);
    EXPECT_EQ(result.code, 1) << command;
    EXPECT_THAT(result.log, HasSubstr("&&&& FAILED"));
    EXPECT_THAT(result.log, HasSubstr("[E] "));
    return result.log;
  }
  json read(const std::string& name) const {
    std::ifstream file(folder_ / name);
    return json::parse(file);
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / "tenon_exec";
};

const std::string kShort = " --duration=0 --warmUp=0 --iterations=3";

TEST_F(Exec, KnowsEveryFlagOfTrtexec) {
  const std::string help = run("tenon exec --help").log;
  std::map<std::string, std::pair<bool, std::string>> known;  // takes a value, versions
  const std::regex row(R"(\n  --(\w+)(=\S+)?\s+\[([\d ]+)\] )");
  for (std::sregex_iterator it(help.begin(), help.end(), row), end; it != end; ++it) known[(*it)[1]] = {(*it)[2].matched, (*it)[3]};
  std::ifstream list(std::string(TENON_SOURCE_DIR) + "/tests/tools/trtexec_flags.txt");
  int count = 0;
  for (std::string line; std::getline(list, line);) {
    if (line.starts_with('#')) continue;
    const size_t blank = line.find(' ');
    std::string name = line.substr(0, blank);
    const std::string versions = line.substr(blank + 1);
    const bool takes_value = name.ends_with('=');
    if (takes_value) name.pop_back();
    ++count;
    ASSERT_TRUE(known.contains(name)) << "--" << name << " is not in the table of tools/exec_flags.cc";
    EXPECT_TRUE(!takes_value || known[name].first) << name;
    EXPECT_TRUE(versions == "?" || versions == known[name].second) << name << ": " << known[name].second;
    known.erase(name);
  }
  EXPECT_EQ(count, 158);
  for (const char* name : {"help", "h", "v"}) known.erase(name);
  EXPECT_TRUE(known.empty()) << "--" << known.begin()->first << " is no flag of trtexec";
}

TEST_F(Exec, EveryFlagOfTheTableIsTakenOrRefusedInWords) {
  const std::string help = run("tenon exec --help").log;
  const size_t ignored = help.find("Taken, but without effect here:"), refused = help.find("Refused:");
  ASSERT_LT(ignored, refused);
  const std::regex row(R"(\n  --(\w+)(=\S+)?)");
  std::string all;
  const std::string middle = help.substr(ignored, refused - ignored);
  int count = 0;
  for (std::sregex_iterator it(middle.begin(), middle.end(), row), end; it != end; ++it, ++count) all += " --" + (*it)[1].str() + ((*it)[2].matched ? "=1" : "");
  const std::string log = passes("tenon exec --onnx=BERT.ONNX --skipInference" + all).log;
  size_t notices = 0;
  for (size_t at = 0; (at = log.find("has no effect: ", at)) != std::string::npos; ++at) ++notices;
  EXPECT_EQ(notices, static_cast<size_t>(count));
  for (const char* flag : {"--uff=m.uff", "--model=m.caffemodel", "--deploy=d", "--refitFromOnnx=m.onnx"}) {
    EXPECT_THAT(fails(std::string("tenon exec --onnx=BERT.ONNX ") + flag), HasSubstr("[E] --")) << flag;
  }
}

// The command lines of the documents, but for the names of files.
TEST_F(Exec, RunsWhatTheBertTutorialTypes) {
  const std::string build =
      "trtexec --ONNX=BERT.ONNX --saveEngine=BERT.engine --explicitBatch  \\\n"
      "        --minShapes=input_ids:1x6,token_type_ids:1x6,input_mask:1x6 \\\n"
      "        --optShapes=input_ids:1x64,token_type_ids:1x64,input_mask:1x64 \\\n"
      "        --maxShapes=input_ids:1x66,token_type_ids:1x66,input_mask:1x66";  // 256 there; the golden model has 66 positions
  const std::string log = passes(build + kShort).log;
  EXPECT_THAT(log, HasSubstr("input_mask is the model's attention_mask"));
  EXPECT_THAT(log, HasSubstr("Input binding for attention_mask with dimensions 1x64 is created."));
  EXPECT_THAT(log, HasSubstr("Engine built in "));
  EXPECT_THAT(passes(build + " --workspace=4096 --fp16" + kShort).log, HasSubstr("--fp16"));
  EXPECT_THAT(passes(build + " -fp16" + kShort).log, HasSubstr("--fp16"));
  const std::string run_it =
      "trtexec --loadEngine=BERT.engine --batch=1 --shapes=input_ids:1x6,token_type_ids:1x6,input_mask:1x6 --fp16 --warmUp=10 --workspace=4096";
  const std::string ran = passes(run_it + " --duration=1").log;  // 60 there
  EXPECT_THAT(ran, HasSubstr("--batch has no effect"));
  EXPECT_THAT(ran, HasSubstr("Input binding for input_ids with dimensions 1x6 is created."));
  EXPECT_THAT(fails("trtexec --loadEngine=BERT.engine --shapes=input_ids:1x67,token_type_ids:1x67,input_mask:1x67"), HasSubstr("67"));
}

TEST_F(Exec, RunsWhatTheOverviewTypes) {
  const std::string log = passes(
      "trtexec --onnx=bert_model.onnx \\\n"
      "         --saveEngine=bert_engine.trt \\\n"
      "         --inputIOFormats=int32:chw \\\n"
      "         --outputIOFormats=fp16:chw \\\n"
      "         --fp16 --maxBatch=1 --minShapes=input_ids:1x16,attention_mask:1x16 \\\n"
      "         --optShapes=input_ids:1x32,attention_mask:1x32 \\\n"  // 128 and 512 there
      "         --maxShapes=input_ids:1x66,attention_mask:1x66 \\\n"
      "         --workspace=4096 --dumpRawBindingsToFile" + kShort).log;
  EXPECT_THAT(log, Not(HasSubstr("[W] --inputIOFormats")));
  EXPECT_THAT(log, HasSubstr("--maxBatch has no effect"));
  // An input that the shapes leave out is as large as the others.
  EXPECT_THAT(log, HasSubstr("Input binding for token_type_ids with dimensions 1x32 is created."));
  EXPECT_TRUE(fs::exists(folder_ / "bert_engine.trt"));
  // The types that were asked for, not the model's i64 and f32; and the values of the model.
  EXPECT_EQ(fs::file_size(folder_ / "input_ids.input.1x32.i32.raw"), 32u * 4);
  EXPECT_EQ(fs::file_size(folder_ / "last_hidden_state.output.1x32x32.f16.raw"), 32u * 32 * 2);
  const Outcome verified = run("tenon verify bert_engine.trt --model bert_model.onnx --batch 1 --seq 20");
  EXPECT_EQ(verified.code, 0) << verified.log;
}

TEST_F(Exec, TakesTypesOfInputsAndOutputs) {
  const std::string exec = "trtexec --onnx=BERT.ONNX --skipInference ";
  passes(exec + "--inputIOFormats=int32:chw,int64:chw,int32:chw+hwc --outputIOFormats=fp16:chw,bf16:chw --saveEngine=typed.engine");
  const std::string inspected = run("tenon inspect typed.engine").log;
  for (const char* text : {"input_ids  i32[", "attention_mask  i64[", "token_type_ids  i32[", "last_hidden_state  f16[", "pooler_output  bf16["})
    EXPECT_THAT(inspected, HasSubstr(text));
  EXPECT_THAT(passes(exec + "--inputIOFormats=chw --outputIOFormats=hwc8").log, HasSubstr("hwc8 is taken as chw"));
  EXPECT_THAT(fails(exec + "--inputIOFormats=int32:chw,int32:chw"), HasSubstr("2 types for 3 inputs: give one for each, or one for all"));
  EXPECT_THAT(fails(exec + "--inputIOFormats=fp16:chw"), HasSubstr("input input_ids is int64 in the model and cannot be fp16"));
  EXPECT_THAT(fails(exec + "--outputIOFormats=fp15:chw"), HasSubstr("there is no type \"fp15\""));
  EXPECT_THAT(fails(exec + "--outputIOFormats=fp16:cwh"), HasSubstr("--outputIOFormats=fp16:cwh: expected type:format"));
}

TEST_F(Exec, TakesPrecisionsOfLayers) {
  const std::string exec = "trtexec --onnx=BERT.ONNX --int8 --cpuOnly --skipInference --layerPrecisions=";
  EXPECT_THAT(passes(exec + "*dense*:fp32").log, HasSubstr("without --precisionConstraints=prefer or obey"));
  EXPECT_THAT(passes(exec + "*dense*:fp32 --precisionConstraints=obey").log, Not(HasSubstr("[W]")));
  EXPECT_THAT(passes(exec + "a:fp16,b:fp32 --precisionConstraints=prefer").log, HasSubstr("--layerPrecisions: a:fp16 has no effect"));
  EXPECT_THAT(fails(exec + "fp32"), HasSubstr("expected layer:precision"));
  EXPECT_THAT(fails(exec + "a:fp32 --precisionConstraints=some"), HasSubstr("expected none, prefer or obey"));
}

TEST_F(Exec, RunsWhatTheProfilingChapterTypes) {
  passes("trtexec --onnx=BERT.ONNX --saveEngine=model.engine --skipInference");
  const std::string log = passes("trtexec --loadEngine=model.engine \\\n        --dumpProfile \\\n        --exportProfile=profile.json" + kShort).log;
  EXPECT_THAT(log, HasSubstr("=== Profile ("));
  EXPECT_THAT(log, HasSubstr("Time(ms)"));
  const json profile = read("profile.json");
  EXPECT_EQ(profile[0]["count"], 20);
  ASSERT_GT(profile.size(), 5u);
  double percent = 0;
  for (size_t i = 1; i < profile.size(); ++i) {
    for (const char* key : {"name", "timeMs", "averageMs", "medianMs", "percentage"}) EXPECT_TRUE(profile[i].contains(key)) << key;
    percent += profile[i]["percentage"].get<double>();
  }
  EXPECT_NEAR(percent, 100, 1e-3);
  passes("trtexec --onnx=BERT.ONNX --fp16 --workspace=4096 --warmUp=500 --iterations=1000 --verbose --duration=0");
}

TEST_F(Exec, RunsTheCommandLinesOfResNets) {
  fs::create_symlink(test::golden_folder() + "onnx/resnet50-ts14-norms-batch.onnx", folder_ / "resnet50.onnx");
  fs::create_symlink(test::golden_folder() + "onnx/resnet18-ts11-batch.onnx", folder_ / "resnet18.onnx");
  passes("trtexec --onnx=resnet50.onnx \\\n        --fp16 \\\n        --workspace=4096 \\\n        --warmUp=500 \\\n        --iterations=1000 \\\n        --verbose" + kShort);
  passes("trtexec --onnx=resnet18.onnx --saveEngine=resnet18.engine --fp16" + kShort);
}

TEST_F(Exec, PrintsTheLinesThatScriptsLookFor) {
  const std::string log = passes("tenon exec --onnx=BERT.ONNX --shapes=input_ids:2x8 --iterations=40 --duration=0 --warmUp=1 --avgRuns=20 --percentile=50,99").log;
  EXPECT_THAT(log, ::testing::StartsWith("&&&& RUNNING "));
  std::istringstream lines(log);
  const std::regex line(R"(&&&& .*|\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] \[[IWEV]\] .*)");
  for (std::string text; std::getline(lines, text);) EXPECT_TRUE(std::regex_match(text, line)) << text;
  const std::string number = R"([\d.e+-]+)", ms = number + " ms";
  const std::string stats = ": min = " + ms + ", max = " + ms + ", mean = " + ms + ", median = " + ms + R"(, percentile\(50%\) = )" + ms + R"(, percentile\(99%\) = )" + ms;
  std::string summary = R"(=== Performance summary ===\n\[[^\n]*Throughput: )" + number + " qps\n";
  for (const char* name : {"Latency", "Enqueue Time", "H2D Latency", "GPU Compute Time", "D2H Latency"}) summary += "[^\n]*" + std::string(name) + stats + "\n";
  summary += "[^\n]*Total Host Walltime: " + number + " s\n[^\n]*Total GPU Compute Time: " + number + " s\n";
  EXPECT_TRUE(std::regex_search(log, std::regex(summary))) << log;
  EXPECT_THAT(log, HasSubstr("Timing trace has 40 queries over "));
  EXPECT_THAT(log, HasSubstr("Average on 20 runs - GPU latency: "));
}

TEST_F(Exec, WritesItsJsonFiles) {
  passes("tenon exec --onnx=BERT.ONNX --shapes=input_ids:2x8 --exportTimes=times.json --exportOutput=output.json --exportLayerInfo=names.json" + kShort);
  const json times = read("times.json");
  ASSERT_EQ(times.size(), 3u);
  double before = 0;
  for (const json& t : times) {
    for (const char* key : {"startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs", "startD2hMs", "endD2hMs", "h2dMs", "computeMs", "d2hMs", "latencyMs"})
      EXPECT_TRUE(t.contains(key)) << key;
    EXPECT_GE(t["startEnqMs"].get<double>(), before);
    before = t["endD2hMs"].get<double>();
    EXPECT_NEAR(before - t["startEnqMs"].get<double>(), t["latencyMs"].get<double>(), 1e-6);
  }
  const json output = read("output.json");
  ASSERT_EQ(output.size(), 2u);
  EXPECT_EQ(output[0]["name"], "last_hidden_state");
  EXPECT_EQ(output[0]["dimensions"], "2x8x32");
  EXPECT_EQ(output[0]["values"].size(), 512u);
  const json names = read("names.json");
  EXPECT_TRUE(names["Layers"][0].is_string());
  EXPECT_THAT(names["Layers"].dump(), HasSubstr("/encoder/layer.0/attention/output/dense/MatMul"));
  EXPECT_EQ(names["Bindings"], json({"input_ids", "attention_mask", "token_type_ids", "last_hidden_state", "pooler_output"}));
  passes("tenon exec --onnx=BERT.ONNX --skipInference --profilingVerbosity=detailed --exportLayerInfo=layers.json");
  for (const json& layer : read("layers.json")["Layers"]) {
    for (const char* key : {"Name", "LayerType", "Inputs", "Outputs", "TacticName"}) EXPECT_TRUE(layer.contains(key)) << key;
    for (const json& size : layer["Outputs"][0]["Dimensions"]) EXPECT_TRUE(size.is_number_integer()) << layer;
    if (layer["LayerType"] == "linear") {
      EXPECT_GT(layer["Weights"]["Count"].get<int>(), 0) << layer;
      EXPECT_THAT(layer["Metadata"].get<std::string>(), HasSubstr("[ONNX Layer: ")) << layer;
    }
  }
}

// Inputs from files, and the outputs that the exporter's runtime gave for them.
TEST_F(Exec, ComputesFromFilesWhatWasRecorded) {
  for (const test::GoldenCase& c : test::golden_cases("onnx")) {
    if (c.name != kBert) continue;
    const int shape = 2;  // with padding on the right
    std::string shapes, files;
    for (const std::string& name : c.inputs) {
      const ir::Tensor* in = c.find(shape, "in", name);
      ASSERT_NE(in, nullptr);
      std::ofstream(folder_ / (name + ".raw"), std::ios::binary)
          .write(reinterpret_cast<const char*>(in->data()), static_cast<std::streamsize>(static_cast<size_t>(in->numel()) * dtype_size(in->dtype())));
      shapes += (shapes.empty() ? "" : ",") + name + ":" + std::to_string(in->shape()[0]) + "x" + std::to_string(in->shape()[1]);
      files += (files.empty() ? "" : ",") + name + ":" + name + ".raw";
    }
    passes("tenon exec --onnx=BERT.ONNX --shapes=" + shapes + " --loadInputs=" + files + " --exportOutput=output.json --infStreams=2" + kShort);
    const ir::Tensor* expected = c.find(shape, "out", "pooler_output");
    ASSERT_NE(expected, nullptr);
    const json values = read("output.json")[1]["values"];
    ASSERT_EQ(values.size(), static_cast<size_t>(expected->numel()));
    const float* e = reinterpret_cast<const float*>(expected->data());
    for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i].get<float>(), e[i], c.tolerance) << i;
    std::ofstream(folder_ / "pooled.raw", std::ios::binary).write(reinterpret_cast<const char*>(e), static_cast<std::streamsize>(expected->bytes()));
    const std::string checked = "tenon exec --onnx=BERT.ONNX --shapes=" + shapes + kShort + " --loadRefOutputs=pooler_output:pooled.raw --accuracyAlgorithm=";
    for (const char* algorithm : {"l0 --atol=1e-3", "l1", "l2 --accuracyThreshold=1e-4", "lInf --accuracyThreshold=1e-4", "cos"}) {
      EXPECT_THAT(passes(checked + algorithm + " --loadInputs=" + files).log, HasSubstr("Accuracy of output pooler_output: " + std::string(algorithm).substr(0, 2)));
      EXPECT_THAT(fails(checked + algorithm), HasSubstr("output pooler_output is not what --loadRefOutputs says"));  // of random inputs
    }
    EXPECT_THAT(fails(checked + "l3"), HasSubstr("expected l0, l1, l2, lInf or cos"));
    EXPECT_THAT(fails("tenon exec --onnx=BERT.ONNX --shapes=input_ids:1x5 --loadRefOutputs=pooler_output:pooled.raw" + kShort), HasSubstr("pooled.raw: "));
    EXPECT_THAT(fails("tenon exec --onnx=BERT.ONNX --shapes=input_ids:1x5 --loadInputs=input_ids:input_ids.raw"), HasSubstr("input_ids.raw: "));
  }
}

TEST_F(Exec, SaysWhatIsWrong) {
  EXPECT_THAT(fails("tenon exec --onnx=BERT.ONNX --saveEngin=x"), HasSubstr("Unknown option: --saveEngin=x; the nearest is --saveEngine"));
  EXPECT_THAT(fails("tenon exec --onnx=BERT.ONNX --fp16=true"), HasSubstr("--fp16 takes no value"));
  EXPECT_THAT(fails("tenon exec --onnx=BERT.ONNX --iterations"), HasSubstr("--iterations needs a value"));
  EXPECT_THAT(fails("tenon exec --onnx=BERT.ONNX --iterations=many"), HasSubstr("--iterations=many"));
  EXPECT_THAT(fails("tenon exec --onnx=BERT.ONNX --shapes=pixels:1x3"), HasSubstr("the model has no input pixels; its inputs are input_ids, attention_mask, token_type_ids"));
  EXPECT_THAT(fails("tenon exec --onnx=BERT.ONNX --shapes=input_ids:axb"), HasSubstr("--shapes=input_ids:axb"));
  EXPECT_THAT(fails("tenon exec --onnx=BERT.ONNX --shapes=input_ids:1x2x3"), HasSubstr("input_ids"));
  EXPECT_THAT(fails("tenon exec"), HasSubstr("--onnx=FILE"));
  EXPECT_THAT(fails("tenon exec --onnx=none.onnx"), HasSubstr("none.onnx"));
  EXPECT_THAT(fails("tenon exec --loadEngine=BERT.ONNX"), HasSubstr("BERT.ONNX"));
  EXPECT_THAT(fails("tenon exec BERT.ONNX"), HasSubstr("options begin with --"));
}

TEST_F(Exec, LoadsPluginLibraries) {
  const std::string sample = std::string(TENON_BINARY_DIR) + "/tests/plugins/sample.so";
  passes("trtexec --onnx=BERT.ONNX --skipInference --plugins=" + sample + " --staticPlugins=" + sample + " --dynamicPlugins=" + sample);
  EXPECT_THAT(fails("trtexec --onnx=BERT.ONNX --plugins=absent.so"), HasSubstr("absent.so: no such plugin library"));
  EXPECT_THAT(fails("trtexec --onnx=BERT.ONNX --plugins=BERT.ONNX"), HasSubstr("BERT.ONNX: it cannot be loaded"));
}

TEST_F(Exec, SeveralProfilesAreHeldToTheirShapes) {
  passes("tenon exec --onnx=BERT.ONNX --saveEngine=two.engine --skipInference --profile=0 --minShapes=*ids:1x1,attention_mask:1x1 --maxShapes=*ids:1x8,attention_mask:1x8"
         " --profile=1 --minShapes=*ids:2x9,attention_mask:2x9 --maxShapes=*ids:4x16,attention_mask:4x16");
  const std::string log = passes("tenon exec --loadEngine=two.engine --useProfile=1 --dumpOptimizationProfile" + kShort).log;
  EXPECT_THAT(log, HasSubstr("Optimization Profile 1: "));
  EXPECT_THAT(log, HasSubstr("with dimensions 4x16 is created."));
  EXPECT_THAT(fails("tenon exec --loadEngine=two.engine --useProfile=2"), HasSubstr("the engine has 2 profiles"));
  EXPECT_THAT(passes("tenon exec --loadEngine=two.engine --getPlanVersionOnly").log, Not(HasSubstr("Throughput")));
}

}  // namespace
}  // namespace tenon
