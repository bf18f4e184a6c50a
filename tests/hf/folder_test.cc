// What a checkpoint's folder can get wrong: config.json, indices of shards, modules of sentence-transformers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "hf/checkpoint.h"
#include "tests/support/golden.h"

namespace tenon::hf {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

// A copy of a golden checkpoint that a test may spoil.
class Folder : public testing::Test {
 protected:
  Folder() : path_(fs::temp_directory_path() / ("tenon_hf_" + std::to_string(getpid()))) {}
  ~Folder() override { fs::remove_all(path_); }

  void copy(const std::string& name) {
    fs::remove_all(path_);
    fs::copy(test::golden_folder() + "checkpoints/" + name, path_, fs::copy_options::recursive);
  }
  void write(const std::string& file, const std::string& text) {
    fs::create_directories((path_ / file).parent_path());
    std::ofstream(path_ / file, std::ios::binary) << text;
  }
  void edit(const std::string& file, const std::function<void(json&)>& change) {
    std::ifstream in(path_ / file);
    json j = json::parse(in);
    change(j);
    write(file, j.dump());
  }
  Status import_status() const { return import_folder(path_.string()).status(); }
  void expect_error(ErrorCode code, const char* message) const {
    const Status s = import_status();
    EXPECT_EQ(s.code(), code) << s.message();
    EXPECT_THAT(s.message(), HasSubstr(message));
  }

  fs::path path_;
};

TEST_F(Folder, IsACheckpointOrNot) {
  copy("bert-encoder");
  EXPECT_TRUE(*is_checkpoint(path_.string()));
  fs::remove(path_ / "model.safetensors");
  EXPECT_FALSE(*is_checkpoint(path_.string()));
  expect_error(ErrorCode::kNotFound, "no model.safetensors and no pytorch_model.bin");
  fs::remove_all(path_);
  EXPECT_EQ(is_checkpoint(path_.string()).status().code(), ErrorCode::kNotFound);
  expect_error(ErrorCode::kNotFound, "no such folder");
}

TEST_F(Folder, PrefersSafetensors) {
  copy("bert-mlm");
  write("pytorch_model.bin", "not looked at");
  EXPECT_TRUE(import_status().ok());
}

TEST_F(Folder, ListsEveryMissingWeight) {
  copy("bert-encoder");
  edit("config.json", [](json& c) { c["num_hidden_layers"] = 3; });
  const Status s = import_status();
  EXPECT_EQ(s.code(), ErrorCode::kBadModel);
  EXPECT_THAT(s.message(), AllOf(HasSubstr("16 weights do not fit"),
                                 HasSubstr("encoder.layer.2.attention.self.query.weight f32[32,32] is missing"),
                                 HasSubstr("encoder.layer.2.output.LayerNorm.bias f32[32] is missing")));
}

TEST_F(Folder, NamesWeightsOfAnotherShape) {
  copy("bert-encoder");
  edit("config.json", [](json& c) { c["intermediate_size"] = 65; });
  EXPECT_THAT(
      import_status().message(),
      HasSubstr(
          "encoder.layer.0.intermediate.dense.weight is f32[64,32] in the file; config.json asks for f32[65,32]"));
}

TEST_F(Folder, MissingHeadIsListedToo) {
  copy("bert-encoder");
  edit("config.json", [](json& c) { c["architectures"] = {"BertForSequenceClassification"}; });
  expect_error(ErrorCode::kBadModel, "classifier.weight f32[2,32] is missing");
}

TEST_F(Folder, RefusesConfigurationsByName) {
  copy("bert-encoder");
  struct Case {
    const char* key;
    json value;
    ErrorCode code;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"model_type", "t5", ErrorCode::kUnsupported, "model type 't5' is not supported; supported are bert"},
      {"model_type", nullptr, ErrorCode::kBadModel, "\"model_type\" is missing"},
      {"model_type", 3, ErrorCode::kBadModel, "\"model_type\" is not a string"},
      {"architectures", json::array({"BertForMultipleChoice"}), ErrorCode::kUnsupported,
       "'BertForMultipleChoice' is not supported"},
      {"architectures", json::array({"BertLMHeadModelX"}), ErrorCode::kUnsupported, "is not supported"},
      {"architectures", "BertModel", ErrorCode::kBadModel, "not a list of names"},
      {"hidden_act", "mish", ErrorCode::kUnsupported, "activation 'mish'"},
      {"position_embedding_type", "relative_key", ErrorCode::kUnsupported, "position_embedding_type 'relative_key'"},
      {"is_decoder", true, ErrorCode::kUnsupported, "is_decoder"},
      {"hidden_size", 0, ErrorCode::kBadModel, "\"hidden_size\" is 0"},
      {"hidden_size", -32, ErrorCode::kBadModel, "\"hidden_size\" is -32"},
      {"hidden_size", 1e30, ErrorCode::kBadModel, "\"hidden_size\" is not an integer"},
      {"hidden_size", "32", ErrorCode::kBadModel, "\"hidden_size\" is not an integer"},
      {"vocab_size", uint64_t{1} << 63, ErrorCode::kBadModel, "\"vocab_size\" is not an integer"},
      {"num_hidden_layers", 1000000000, ErrorCode::kBadModel, "not within 1 to 1000"},
      {"num_attention_heads", 5, ErrorCode::kBadModel, "32 columns do not divide by 5 heads"},
      {"num_attention_heads", 0, ErrorCode::kBadModel, "\"num_attention_heads\" is 0"},
      {"layer_norm_eps", "1e-12", ErrorCode::kBadModel, "\"layer_norm_eps\" is not a number"},
      {"id2label", {{"0", "a"}, {"2", "b"}}, ErrorCode::kBadModel, "no name for label 1"},
      {"id2label", {{"0", 7}}, ErrorCode::kBadModel, "no name for label 0"},
      {"tie_word_embeddings", "yes", ErrorCode::kBadModel, "\"tie_word_embeddings\" is not true or false"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.key) + " = " + c.value.dump());
    copy("bert-encoder");
    edit("config.json", [&](json& config) { config[c.key] = c.value; });
    expect_error(c.code, c.message);
    expect_error(c.code, "config.json");
  }
}

TEST_F(Folder, RefusesRotaryConfigurationsByName) {
  const std::vector<std::tuple<const char*, json, const char*>> cases = {
      {"rope_parameters", {{"full_attention", {{"rope_type", "yarn"}}}}, "rope_type 'yarn' is not supported"},
      {"rope_parameters", {{"sliding_attention", 3}}, "\"rope_parameters\" of sliding_attention are not an object"},
      {"layer_types", json::array({"full_attention"}), "\"layer_types\" has 1 entries for 2 layers"},
      {"local_attention", 0, "\"local_attention\" is 0"},
      {"classifier_pooling", "last", "classifier_pooling 'last' is not supported"},
      {"num_attention_heads", 32, "heads of 1 columns cannot rotate in pairs"},
      {"hidden_size", 1 << 24, "66 positions of 4194304 columns are too many"},
  };
  for (const auto& [key, value, message] : cases) {
    SCOPED_TRACE(std::string(key) + " = " + value.dump());
    copy("modernbert-encoder");
    edit("config.json", [&, &key = key, &value = value](json& config) { config[key] = value; });
    EXPECT_THAT(import_status().message(), AllOf(HasSubstr(message), HasSubstr("config.json")));
  }
}

TEST_F(Folder, RefusesConfigurationsOfImagesByName) {
  const std::vector<std::tuple<const char*, json, const char*>> cases = {
      {"image_size", 0, "\"image_size\" is 0"},
      {"image_size", json::array({16, 24}), "\"image_size\" [16,24] is not square"},
      {"image_size", 1000000000, "not within 1 to 16384"},
      {"patch_size", 7, "image_size 16 is no multiple of patch_size 7"},
      {"patch_size", -8, "\"patch_size\" is -8"},
      {"num_channels", "3", "\"num_channels\" is not an integer"},
      {"architectures", json::array({"ViTForSequenceClassification"}), "reads images"},
      {"architectures", json::array({"ViTForMaskedImageModeling"}), "is not supported"},
  };
  for (const auto& [key, value, message] : cases) {
    SCOPED_TRACE(std::string(key) + " = " + value.dump());
    copy("vit-imgcls");
    edit("config.json", [&, &key = key, &value = value](json& config) { config[key] = value; });
    EXPECT_THAT(import_status().message(), AllOf(HasSubstr(message), HasSubstr("config.json")));
  }
  const std::vector<std::tuple<const char*, json, const char*>> preparations = {
      {"image_mean", 0.5, "\"image_mean\" is no list of three numbers"},
      {"image_std", json::array({1, 1, "1"}), "\"image_std\" is no list of three numbers"},
      {"resample", 1, "\"resample\" is 1"},
      {"do_center_crop", 1, "\"do_center_crop\" is not true or false"},
  };
  for (const auto& [key, value, message] : preparations) {
    SCOPED_TRACE(std::string(key) + " = " + value.dump());
    copy("vit-imgcls");
    edit("preprocessor_config.json", [&, &key = key, &value = value](json& settings) { settings[key] = value; });
    EXPECT_THAT(import_status().message(), AllOf(HasSubstr(message), HasSubstr("preprocessor_config.json")));
  }
  copy("vit-imgcls");
  edit("preprocessor_config.json", [](json& settings) {
    settings["do_center_crop"] = true;
    settings["size"] = {{"shortest_edge", 20}};
  });
  const auto cut = import_folder(path_.string());
  ASSERT_TRUE(cut.ok()) << cut.status().message();
  EXPECT_EQ(cut->properties.at("image_fit"), "crop");
  EXPECT_EQ(cut->properties.at("image_resize"), "20");
  edit("preprocessor_config.json", [](json& settings) { settings["crop_pct"] = 0.5; });
  EXPECT_EQ(import_folder(path_.string())->properties.at("image_resize"), "40");
  edit("preprocessor_config.json", [](json& settings) { settings["crop_pct"] = 0; });
  expect_error(ErrorCode::kBadModel, "\"crop_pct\" is 0");
  edit("preprocessor_config.json", [](json& settings) { settings["size"] = {{"shortest_edge", 0}}; });
  expect_error(ErrorCode::kBadModel, "\"size\" is 0");
}

TEST_F(Folder, RefusesConfigurationsOfDistancesByName) {
  const std::vector<std::tuple<const char*, json, const char*>> cases = {
      {"conv_kernel_size", 3, "conv_kernel_size"},
      {"attention_head_size", 5, "attention_head_size 5 is not supported"},
      {"position_buckets", 3, "3 position_buckets for distances up to 66"},
      {"position_buckets", 1000, "1000 position_buckets"},
      {"max_relative_positions", 4, "8 position_buckets for distances up to 4"},
      {"pooler_hidden_act", "mish", "activation 'mish'"},
  };
  for (const auto& [key, value, message] : cases) {
    SCOPED_TRACE(std::string(key) + " = " + value.dump());
    copy("deberta-v2-encoder");
    edit("config.json", [&, &key = key, &value = value](json& config) { config[key] = value; });
    EXPECT_THAT(import_status().message(), AllOf(HasSubstr(message), HasSubstr("config.json")));
  }
}

TEST_F(Folder, RefusesFilesThatAreNoJson) {
  for (const char* text :
       {"", "{", "[]", "null", R"({"model_type": "bert", "model_type": "bert"})", "{\"a\": \"\xff\"}"}) {
    SCOPED_TRACE(text);
    copy("bert-encoder");
    write("config.json", text);
    expect_error(ErrorCode::kBadModel, "config.json");
  }
  fs::remove(path_ / "config.json");
  expect_error(ErrorCode::kNotFound, "config.json");
}

TEST_F(Folder, ShardsStayInTheFolder) {
  const std::string outside = (fs::temp_directory_path() / "model-00001-of-00004.safetensors").string();
  for (const std::string& name : std::vector<std::string>{
           "../model-00001-of-00004.safetensors", outside, "./model-00001-of-00004.safetensors", "..", "",
           "a/../b.safetensors", "..\\x.safetensors", "config.json", std::string("model\0.safetensors", 18)}) {
    SCOPED_TRACE(name);
    copy("bert-mlm-sharded");
    edit("model.safetensors.index.json", [&](json& index) { index["weight_map"].begin().value() = name; });
    expect_error(ErrorCode::kBadModel, "which is no .safetensors file of this folder");
  }
}

TEST_F(Folder, ShardsHoldWhatTheIndexSays) {
  copy("bert-mlm-sharded");
  edit("model.safetensors.index.json",
       [](json& index) { index["weight_map"]["bert.pooler.dense.weight"] = "model-00001-of-00004.safetensors"; });
  expect_error(ErrorCode::kBadModel, "tensor 'bert.pooler.dense.weight' is not in 'model-00001-of-00004.safetensors'");
  copy("bert-mlm-sharded");
  fs::remove(path_ / "model-00002-of-00004.safetensors");
  expect_error(ErrorCode::kNotFound, "model-00002-of-00004.safetensors");
  copy("bert-mlm-sharded");
  edit("model.safetensors.index.json", [](json& index) { index["weight_map"] = json::array(); });
  expect_error(ErrorCode::kBadModel, "\"weight_map\" is missing");
  copy("bert-mlm-sharded");
  edit("model.safetensors.index.json", [](json& index) { index["weight_map"].begin().value() = 1; });
  expect_error(ErrorCode::kBadModel, "names no file");
}

TEST_F(Folder, PoolsInEveryWay) {
  copy("st-bert-mean");
  edit("1_Pooling/config.json",
       [](json& c) { c["pooling_mode_cls_token"] = c["pooling_mode_mean_sqrt_len_tokens"] = true; });
  const auto model = import_folder(path_.string());
  ASSERT_TRUE(model.ok()) << model.status().message();
  ASSERT_EQ(model->graph->outputs().size(), 1u);
  EXPECT_EQ(model->graph->outputs()[0].value->type().to_string(), "f32[batch,96]");
}

TEST_F(Folder, AddsDenseModules) {
  copy("st-bert-mean");
  edit("modules.json", [](json& m) {
    m.push_back({{"idx", 2}, {"name", "2"}, {"path", "2_Dense"}, {"type", "sentence_transformers.models.Dense"}});
  });
  write(
      "2_Dense/config.json",
      R"({"in_features": 32, "out_features": 2, "bias": true, "activation_function": "torch.nn.modules.activation.Tanh"})");
  expect_error(ErrorCode::kNotFound, "2_Dense: no model.safetensors");
  const std::string header =
      R"({"linear.weight":{"dtype":"F32","shape":[2,32],"data_offsets":[0,256]},"linear.bias":{"dtype":"F32","shape":[2],"data_offsets":[256,264]}})";
  std::string length(8, '\0');
  length[0] = static_cast<char>(header.size());
  write("2_Dense/model.safetensors", length + header + std::string(264, '\0'));
  const auto model = import_folder(path_.string());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->graph->outputs()[0].value->type().to_string(), "f32[batch,2]");
  EXPECT_NE(model->graph->find_value("2_Dense.linear.weight"), nullptr);
}

TEST_F(Folder, RefusesModulesByName) {
  const auto with = [&](const std::function<void(json&)>& change, ErrorCode code, const char* message) {
    SCOPED_TRACE(message);
    copy("st-minilm-mean-normalize");
    edit("modules.json", change);
    expect_error(code, message);
  };
  with([](json& m) { m[1]["path"] = "../1_Pooling"; }, ErrorCode::kBadModel,
       "path '../1_Pooling' leaves the model's folder");
  with([](json& m) { m[0]["path"] = "/etc"; }, ErrorCode::kBadModel, "leaves the model's folder");
  with([](json& m) { m[1]["path"] = "nowhere"; }, ErrorCode::kNotFound, "nowhere/config.json");
  with([](json& m) { m[2]["type"] = "sentence_transformers.models.LSTM"; }, ErrorCode::kUnsupported,
       "sentence_transformers.models.LSTM");
  with([](json& m) { m[0]["type"] = "sentence_transformers.models.CLIPModel"; }, ErrorCode::kUnsupported, "CLIPModel");
  with([](json& m) { m.erase(1); }, ErrorCode::kUnsupported, "not supported at this place");
  with(
      [](json& m) {
        m.erase(2);
        m.erase(1);
      },
      ErrorCode::kUnsupported, "no Pooling module");
  with([](json& m) { m.push_back(m[0]); }, ErrorCode::kUnsupported, "must be a Transformer");
  with([](json& m) { m.push_back(m[1]); }, ErrorCode::kUnsupported, "not supported at this place");
  with([](json& m) { m = json::object(); }, ErrorCode::kBadModel, "not a list of modules");
  with([](json& m) { m = json::array({1}); }, ErrorCode::kBadModel, "a module is no object");
}

TEST_F(Folder, RefusesPoolingByName) {
  const auto with = [&](const std::function<void(json&)>& change, ErrorCode code, const char* message) {
    SCOPED_TRACE(message);
    copy("st-bert-mean");
    edit("1_Pooling/config.json", change);
    expect_error(code, message);
  };
  with([](json& c) { c["pooling_mode_lasttoken"] = true; }, ErrorCode::kUnsupported,
       "pooling_mode_lasttoken is not supported");
  with([](json& c) { c["pooling_mode_mean_tokens"] = false; }, ErrorCode::kBadModel, "no pooling mode is set");
  with([](json& c) { c["pooling_mode_mean_tokens"] = "yes"; }, ErrorCode::kBadModel, "is not true or false");
}

}  // namespace
}  // namespace tenon::hf
