// Pictures: decoded, resized and normalised as PIL does it, refused where they are damaged, classified by the real
// program.
#include "tools/images.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/support/run_program.h"
#include "tests/support/safetensors.h"

namespace tenon::tools {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const std::string kFolder = std::string(TENON_SOURCE_DIR) + "/tests/tools/images/";

const test::TensorMap& recorded() {
  static const test::TensorMap tensors = test::read_safetensors(kFolder + "recorded.safetensors");
  return tensors;
}

std::vector<uint8_t> bytes_of(const std::string& name) {
  std::ifstream file(kFolder + name, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  return {bytes.begin(), bytes.end()};
}

// The largest difference of two pictures; infinite where their sizes differ.
double difference(const Image& image, const ir::Tensor& expected) {
  if (expected.shape() != std::vector<int64_t>{image.height, image.width, 3}) return INFINITY;
  double worst = 0;
  for (int64_t i = 0; i < expected.numel(); ++i)
    worst = std::max(worst, std::abs(expected.at(i) - static_cast<double>(image.pixels[static_cast<size_t>(i)])));
  return worst;
}

TEST(Images, AreDecodedAsPilDecodesThem) {
  int count = 0;
  for (const auto& [name, expected] : recorded()) {
    if (!name.starts_with("decoded/")) continue;
    const auto image = read_image(kFolder + name.substr(8));
    ASSERT_TRUE(image.ok()) << image.status().message();
    // Versions of libjpeg-turbo may round differently; PNG is exact.
    EXPECT_LE(difference(*image, expected), name.ends_with(".jpg") ? 3 : 0) << name;
    ++count;
  }
  EXPECT_EQ(count, 9);
}

TEST(Images, AreResizedAsPilResizesThem) {
  int count = 0;
  for (const auto& [name, expected] : recorded()) {
    if (!name.starts_with("resized/")) continue;
    const std::string file = name.substr(8, name.find('/', 8) - 8);
    const ir::Tensor& pixels = recorded().at("decoded/" + file);
    Image image{pixels.shape()[1], pixels.shape()[0], {}};
    for (int64_t i = 0; i < pixels.numel(); ++i) image.pixels.push_back(static_cast<uint8_t>(pixels.at(i)));
    const auto how = name.ends_with("bicubic") ? Interpolation::kBicubic : Interpolation::kBilinear;
    EXPECT_LE(difference(resize_image(image, expected.shape()[1], expected.shape()[0], how), expected), 1) << name;
    ++count;
  }
  EXPECT_EQ(count, 30);
}

TEST(Images, AreCutAndNormalised) {
  for (const char* file : {"wide.jpg", "rgb.png"}) {
    const auto image = read_image(kFolder + file);
    ASSERT_TRUE(image.ok());
    const ir::Tensor& expected = recorded().at("prepared/" + std::string(file) + "/32");
    std::vector<float> rows(3 * 32 * 32), last(rows.size());
    prepare_image(*image, {}, 32, 32, false, rows.data());
    prepare_image(*image, {}, 32, 32, true, last.data());
    for (int64_t i = 0; i < expected.numel(); ++i) {
      // One step of the pixel's 255, and what another decoder rounds.
      EXPECT_NEAR(rows[static_cast<size_t>(i)], expected.at(i), 3.0 / 255 / 0.224) << file << " " << i;
      EXPECT_EQ(rows[static_cast<size_t>(i)], last[static_cast<size_t>(i % 1024 * 3 + i / 1024)]);
    }
  }
}

TEST(Images, AreStretchedOrCutAtAnyProportion) {
  const auto image = read_image(kFolder + "line.png");  // 5 x 1
  ASSERT_TRUE(image.ok());
  std::vector<float> out(3 * 7 * 129, NAN);
  for (const bool stretch : {false, true}) {
    Preparation how;
    how.stretch = stretch;
    how.short_side = 3;  // less than the input's: black around it
    prepare_image(*image, how, 129, 7, false, out.data());
    for (const float v : out) ASSERT_TRUE(std::isfinite(v));
    const float black = static_cast<float>(-0.485 / 0.229);
    EXPECT_EQ(out[0] == black, !stretch);
  }
  // So flat that its long side would not fit into memory.
  Image flat{50000, 1, std::vector<uint8_t>(150000, 255)};
  prepare_image(flat, {.short_side = 16384}, 7, 7, false, out.data());
  EXPECT_NEAR(out[0], (1 - 0.485) / 0.229, 1e-4);
}

TEST(Images, ThatEndTooEarlyAreRefused) {
  for (const char* file : {"wide.jpg", "tall.jpg", "rgb.png", "palette.png"}) {
    const std::vector<uint8_t> bytes = bytes_of(file);
    for (size_t length = 0; length + 12 < bytes.size(); length += 1 + bytes.size() / 97) {
      const auto image = decode_image(std::span(bytes).first(length));
      EXPECT_FALSE(image.ok()) << file << " cut to " << length;
    }
  }
}

TEST(Images, ThatAreDamagedAreReadOrRefusedButNeverMore) {
  std::mt19937 random(7);
  for (const char* file : {"wide.jpg", "tall.jpg", "grey.jpg", "rgb.png", "palette.png", "alpha.png", "deep.png"}) {
    const std::vector<uint8_t> sound = bytes_of(file);
    for (int round = 0; round < 150; ++round) {
      std::vector<uint8_t> bytes = sound;
      for (int i = 0; i <= round % 5; ++i)
        bytes[random() % std::min<size_t>(bytes.size(), round % 2 ? 700 : bytes.size())] =
            static_cast<uint8_t>(random());
      const auto image = decode_image(bytes);
      const size_t pixels = image.ok() ? image->pixels.size() : 0;
      EXPECT_EQ(pixels, image.ok() ? static_cast<size_t>(image->width * image->height * 3) : 0) << file;
    }
  }
}

TEST(Images, OfAbsurdSizeAreRefusedBeforeMemoryIsTaken) {
  std::vector<uint8_t> png = bytes_of("rgb.png");
  for (const size_t at : {size_t{16}, size_t{20}})
    png[at + 1] = 0x7f;  // width and height; the chunk's checksum is wrong too
  EXPECT_FALSE(decode_image(png).ok());
  std::vector<uint8_t> jpeg = bytes_of("wide.jpg");
  const uint8_t marker[] = {0xff, 0xc0};
  const auto frame = std::search(jpeg.begin(), jpeg.end(), std::begin(marker), std::end(marker));
  ASSERT_NE(frame, jpeg.end());
  for (int i = 5; i < 9; ++i) frame[i] = 0xfe;
  const auto image = decode_image(jpeg);
  ASSERT_FALSE(image.ok());
  EXPECT_THAT(image.status().message(), HasSubstr("65278 x 65278 pixels; at most"));
}

TEST(Images, OfOtherKindsAreRefusedByName) {
  EXPECT_THAT(read_image(kFolder + "four_inks.jpg").status().message(),
              HasSubstr("four_inks.jpg: a JPEG of four inks (CMYK)"));
  EXPECT_THAT(read_image(kFolder + "recorded.safetensors").status().message(), HasSubstr("neither a JPEG nor a PNG"));
  EXPECT_THAT(read_image(kFolder).status().message(), HasSubstr("no such file"));
  EXPECT_THAT(read_image("none.jpg").status().message(), HasSubstr("none.jpg"));
}

// The real program, with a golden ResNet of ten classes.
class RunImages : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_);
    const auto built = run("tenon build " + std::string(TENON_SOURCE_DIR) +
                           "/tests/golden/onnx/resnet18-ts17-norms-image.onnx -o net.tenon");
    ASSERT_EQ(built.code, 0) << built.log;
    std::ofstream(folder_ / "labels.txt") << "zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n";
    std::ofstream(folder_ / "labels.json") << R"({"0": ["n0", "zero"], "1": ["n1", "one"]})";
  }
  void TearDown() override { fs::remove_all(folder_); }
  test::Outcome run(const std::string& command) const { return test::run_program(command, folder_); }

  const fs::path folder_ = fs::path(testing::TempDir()) / "tenon_images";
};

TEST_F(RunImages, GivesTheClassesThatOnnxRuntimeGives) {
  const std::vector<std::string> names = {"zero", "one", "two",   "three", "four",
                                          "five", "six", "seven", "eight", "nine"};
  std::string command = "tenon run net.tenon --image-size 48 --labels labels.txt --batch 2 --json --image";
  for (const char* file : {"wide.jpg", "rgb.png", "wide.jpg"}) command += " " + kFolder + file;  // two batches
  const auto ran = run(command);
  ASSERT_EQ(ran.code, 0) << ran.log;
  const auto list = nlohmann::json::parse(ran.log);
  ASSERT_EQ(list.size(), 3u);
  for (const auto& [index, file] : {std::pair<size_t, std::string>{0, "wide.jpg"}, {1, "rgb.png"}, {2, "wide.jpg"}}) {
    const ir::Tensor& logits = recorded().at("logits/" + file);
    double sum = 0;
    for (int64_t i = 0; i < 10; ++i) sum += std::exp(logits.at(i));
    ASSERT_EQ(list[index]["labels"].size(), 5u);
    double before = 1;
    for (const auto& found : list[index]["labels"]) {
      const auto at = std::find(names.begin(), names.end(), found["label"].get<std::string>()) - names.begin();
      ASSERT_LT(at, 10);
      const double p = found["probability"];
      EXPECT_NEAR(p, std::exp(logits.at(at)) / sum, 0.02) << file << " " << found;
      EXPECT_LE(p, before);
      before = p;
    }
  }
}

TEST_F(RunImages, SaysWhatIsWrong) {
  const auto fails = [&](const std::string& options) {
    const auto ran = run("tenon run net.tenon " + options);
    EXPECT_NE(ran.code, 0) << options;
    return ran.log;
  };
  const std::string image = "--image " + kFolder + "wide.jpg ";
  EXPECT_THAT(fails(image + "--labels labels.json"),
              HasSubstr("labels.json: 2 labels, but logits of net.tenon has 10 classes"));
  EXPECT_THAT(fails(image + "--labels none.txt"), HasSubstr("none.txt"));
  EXPECT_THAT(fails("--image net.tenon"), HasSubstr("net.tenon: neither a JPEG nor a PNG"));
  EXPECT_THAT(fails(image + "--text x"), HasSubstr("--image"));
  EXPECT_THAT(fails(image + "--std 1,0,1"), HasSubstr("--std"));
  EXPECT_THAT(fails(image + "--mean 1"), HasSubstr("--mean"));
  const std::string bert = std::string(TENON_SOURCE_DIR) + "/tests/golden/onnx/bert-enc-ts14-mask-types-sdpa-dyn.onnx";
  ASSERT_EQ(run("tenon build " + bert + " -o bert.tenon").code, 0);
  EXPECT_THAT(run("tenon run bert.tenon " + image).log,
              HasSubstr("--image needs an engine with an input of floats [batch, 3, height, width]"));
}

// The classes that ONNX Runtime 1.31.1 gives (argmax) for the images of cifar10_test_242_lossless.bin with
// resnet_2b.onnx, pixels scaled as SOURCE.txt beside them says.
constexpr std::string_view kCifarClasses =
    "8754649813560646603525048636288824512826296401106302214022821554315430717847747021584359154448984343"
    "5434274318026145361815588464383692401663410623262172446692344677045546144582858054019541652880406442"
    "631236605266666546057398448320612671914426";

// A trained network on real images: written as PNG files, read back, normalised, classified, named.
TEST(RunCifar, GivesTheClassesThatOnnxRuntimeGives) {
  const char* given = std::getenv("TENON_SHARED_DIR");
  const fs::path data =
      fs::path(given != nullptr ? given : std::string(TENON_SOURCE_DIR) + "/../shared") / "data/cifar10";
  if (!fs::exists(data)) GTEST_SKIP() << "CIFAR-10's images are not here (../shared/data/cifar10, or TENON_SHARED_DIR)";
  const fs::path folder = fs::path(testing::TempDir()) / "tenon_cifar";
  fs::create_directories(folder);
  constexpr size_t kPixels = 32 * 32;
  std::ifstream file(data / "cifar10_test_242_lossless.bin", std::ios::binary);
  std::string images;
  for (std::array<char, 1 + 3 * kPixels> record; file.read(record.data(), record.size());) {
    std::vector<uint8_t> pixels(3 * kPixels);
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(record[1 + i % 3 * kPixels + i / 3]);
    const std::string name = fmt::format("{}.png", images.size());
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    png.width = png.height = 32;
    png.format = PNG_FORMAT_RGB;
    ASSERT_NE(png_image_write_to_file(&png, (folder / name).c_str(), 0, pixels.data(), 0, nullptr), 0);
    images += " " + name;
  }
  const auto built = test::run_program("tenon build " + (data / "resnet_2b.onnx").string() + " -o net.tenon", folder);
  ASSERT_EQ(built.code, 0) << built.log;
  const auto ran = test::run_program(
      "tenon run net.tenon --stretch --mean 0.4914,0.4822,0.4465 --std 0.2471,0.2435,0.2616 --json --labels " +
          (data / "labels.txt").string() + " --image" + images,
      folder);
  ASSERT_EQ(ran.code, 0) << ran.log;
  std::vector<std::string> labels;
  std::ifstream names(data / "labels.txt");
  for (std::string line; std::getline(names, line);) labels.push_back(line);
  const auto list = nlohmann::json::parse(ran.log);
  ASSERT_EQ(list.size(), kCifarClasses.size());
  for (size_t i = 0; i < list.size(); ++i)
    EXPECT_EQ(list[i]["labels"][0]["label"], labels[static_cast<size_t>(kCifarClasses[i] - '0')]) << "image " << i;
  fs::remove_all(folder);
}

}  // namespace
}  // namespace tenon::tools
