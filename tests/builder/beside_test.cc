// What ONNX files leave to the files beside them.
#include "builder/beside.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "builder/builder.h"
#include "tests/support/golden.h"

namespace tenon::builder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
namespace fs = std::filesystem;

// A folder with a golden ONNX file, as a repository has it.
class Beside : public testing::Test {
 protected:
  Beside() : path_(fs::temp_directory_path() / ("tenon_beside_" + std::to_string(getpid()))) { fs::remove_all(path_); }
  ~Beside() override { fs::remove_all(path_); }

  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((path_ / file).parent_path());
    std::ofstream(path_ / file, std::ios::binary) << text;
  }
  ir::Model import(const std::string& golden, const std::string& place = "model.onnx") const {
    const std::string to = (path_ / place).string();
    fs::create_directories(fs::path(to).parent_path());
    fs::copy_file(test::golden_folder() + "onnx/" + golden + ".onnx", to, fs::copy_options::overwrite_existing);
    ir::Model model = value_or_throw(import_model(to, false));
    read_beside(folder_beside(to), model);
    return model;
  }

  fs::path path_;
};

constexpr const char* kClassifier = "distilbert-seqcls-ts12-mask-pos-eager-dyn";
constexpr const char* kNames =
    R"({"id2label": {"2": "neutral", "0": "bad", "1": "good"}, "problem_type": "multi_label_classification"})";

TEST_F(Beside, ClassesHaveTheirNames) {
  EXPECT_THAT(import(kClassifier).labels, IsEmpty());
  write("config.json", kNames);
  const ir::Model model = import(kClassifier);
  EXPECT_THAT(model.labels, ElementsAre("bad", "good", "neutral"));
  EXPECT_EQ(model.properties.at("problem_type"), "multi_label_classification");
  EXPECT_THAT(import("bert-enc-ts17-mask-types-eager-dyn").labels, IsEmpty()) << "hidden states are no classes";
}

TEST_F(Beside, ARepositoryHasThemAboveItsFolderOnnx) {
  write("config.json", kNames);
  EXPECT_THAT(import(kClassifier, "onnx/model.onnx").labels, ElementsAre("bad", "good", "neutral"));
  EXPECT_EQ(folder_beside((path_ / "onnx").string()), path_.string()) << "the folder itself is given";
  EXPECT_THAT(import(kClassifier, "other/model.onnx").labels, IsEmpty());
  write("onnx/config.json", "{}");
  EXPECT_THAT(import(kClassifier, "onnx/model.onnx").labels, IsEmpty()) << "it has its own";
}

TEST_F(Beside, FilesThatDoNotFitAreNotes) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"id2label": {"0": "a", "1": "b"}})", "names 2 classes, the model has 3"},
      {R"({"id2label": {"0": "a", "2": "b"}})", "no name for label 1"},
      {R"({"problem_type": 7})", "problem_type"},
      {"{", "config.json"},
  };
  for (const auto& [text, message] : cases) {
    SCOPED_TRACE(text);
    write("config.json", text);
    const ir::Model model = import(kClassifier);
    EXPECT_THAT(model.labels, IsEmpty());
    ASSERT_FALSE(model.notes.empty());
    EXPECT_THAT(model.notes.back(), HasSubstr(message));
  }
}

TEST_F(Beside, ImagesArePreparedAsTheCheckpointWantsIt) {
  EXPECT_FALSE(import("vit-ts14-eager").properties.contains("image_mean"));
  write("preprocessor_config.json",
        R"({"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1], "size": 224, "crop_pct": 0.875, "resample": 3})");
  const ir::Model model = import("vit-ts14-eager");
  EXPECT_EQ(model.properties.at("image_mean"), "0.1,0.2,0.3");
  EXPECT_EQ(model.properties.at("image_resize"), "256");
  EXPECT_EQ(model.properties.at("image_interpolation"), "bicubic");
  write("preprocessor_config.json", R"({"image_mean": 0.5})");
  EXPECT_THAT(import("vit-ts14-eager").notes.back(), HasSubstr("no list of three numbers"));
  EXPECT_FALSE(import(kClassifier).properties.contains("image_mean")) << "texts are no images";
}

TEST_F(Beside, PathsOfEveryForm) {
  EXPECT_EQ(folder_beside("/a/b/model.onnx"), "/a/b");
  EXPECT_EQ(folder_beside("model.onnx"), fs::current_path().string());
  fs::create_directories(path_);
  EXPECT_EQ(folder_beside(path_.string()), path_.string());
  EXPECT_EQ(folder_beside(path_.string() + "/"), path_.string());
}

}  // namespace
}  // namespace tenon::builder
