// `tenon run --image`: pictures through an engine of image classification.
#include <fmt/core.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/executable.h"
#include "tasks/answers.h"
#include "tenon/runtime.h"
#include "tools/images.h"
#include "tools/report.h"
#include "tools/tensor_io.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

using Json = nlohmann::ordered_json;

// The input that takes pictures.
struct ImageInput {
  std::string name;
  DType dtype = DType::kF32;
  bool channels_last = false;
  int64_t batch = 0, height = 0, width = 0;  // batch: how many are run at once
  bool fixed_batch = false;
};

ImageInput find_input(const Engine& engine, const RunArgs& args) {
  std::string seen;
  for (const TensorInfo& info : engine.inputs()) {
    seen += fmt::format("{}{} {}", seen.empty() ? "" : ", ", info.name, join(info.shape));
    if (info.shape.size() != 4 || !is_float(info.dtype)) continue;
    const bool last = info.shape[1] != 3;
    if (last && info.shape[3] != 3) continue;
    const auto size = [&](size_t axis) {
      if (info.shape[axis] > 0 && args.image_size > 0 && args.image_size != info.shape[axis])
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("--image-size {}: the model takes {}", args.image_size, info.shape[axis]));
      return info.shape[axis] > 0 ? info.shape[axis] : args.image_size > 0 ? args.image_size : 224;
    };
    const bool fixed = info.shape[0] > 0;
    return {info.name,          info.dtype,         last, fixed ? info.shape[0] : args.batch,
            size(last ? 1 : 2), size(last ? 2 : 3), fixed};
  }
  throw Error(ErrorCode::kInvalidArgument,
              "--image needs an engine with an input of floats [batch, 3, height, width] or [batch, height, width, 3]; "
              "its inputs are " +
                  seen);
}

std::array<double, 3> three(const std::string& text) {
  std::array<double, 3> values{};
  std::istringstream in(text);
  char comma = 0;
  in >> values[0] >> comma >> values[1] >> comma >> values[2];
  return values;
}

// What the checkpoint says of its pictures, and what the options say instead.
Preparation preparation(const engine::Metadata& metadata, const RunArgs& args) {
  Preparation how;
  const auto property = [&](const char* name) {
    const auto found = metadata.properties.find(name);
    return found == metadata.properties.end() ? std::string() : found->second;
  };
  if (const std::string mean = property("image_mean"); !mean.empty()) how.mean = three(mean);
  if (const std::string deviation = property("image_std"); !deviation.empty()) how.deviation = three(deviation);
  how.stretch = property("image_fit") == "stretch";
  if (const std::string side = property("image_resize"); !side.empty()) how.short_side = std::stoll(side);
  if (property("image_interpolation") == "bicubic") how.interpolation = Interpolation::kBicubic;
  if (args.resize > 0) how.short_side = args.resize;
  if (args.resize > 0 || args.stretch) how.stretch = args.stretch;
  if (!args.interpolation.empty())
    how.interpolation = args.interpolation == "bicubic" ? Interpolation::kBicubic : Interpolation::kBilinear;
  const auto overrule = [](const std::vector<double>& given, std::array<double, 3>& values) {
    if (!given.empty()) std::copy_n(given.begin(), 3, values.begin());
  };
  overrule(args.mean, how.mean);
  overrule(args.std, how.deviation);
  for (const double d : how.deviation)
    if (!(std::abs(d) > 0)) throw Error(ErrorCode::kInvalidArgument, "--std: a deviation of 0");
  return how;
}

// One name a line; or JSON: a list of names, or an object of index: name or index: [id, name].
std::vector<std::string> read_labels(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kNotFound, path + ": cannot be read");
  std::stringstream text;
  text << file.rdbuf();
  const auto bad = [&](const std::string& what) { return Error(ErrorCode::kBadInput, path + ": " + what); };
  std::vector<std::string> labels;
  if (!path.ends_with(".json")) {
    for (std::string line; std::getline(text, line);) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      labels.push_back(line);
    }
    while (!labels.empty() && labels.back().empty()) labels.pop_back();
    return labels;
  }
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_array() && !json.is_object()) throw bad("no JSON list or object");
  for (size_t i = 0; i < json.size(); ++i) {
    const auto key = std::to_string(i);
    if (json.is_object() && !json.contains(key)) throw bad("no label " + key);
    const auto& entry = json.is_array() ? json[i] : json[key];
    const auto& name = entry.is_array() && !entry.empty() ? entry.back() : entry;
    if (!name.is_string()) throw bad("label " + key + " is no text");
    labels.push_back(name.get<std::string>());
  }
  return labels;
}

// The outputs of all pictures, row after row.
struct Rows {
  std::string name;
  std::vector<int64_t> shape;  // of one picture
  std::vector<float> values;
  int64_t size() const {
    int64_t n = 1;
    for (const int64_t s : shape) n *= s;
    return n;
  }
};

void append(const TensorInfo& info, const TensorView& view, const ImageInput& input, int64_t count, Rows& rows) {
  if (view.shape.empty() || view.shape[0] != input.batch)
    throw Error(ErrorCode::kUnsupported,
                fmt::format("output {} {} has no row for each of {} images", info.name, join(view.shape), input.batch));
  rows.name = info.name;
  rows.shape.assign(view.shape.begin() + 1, view.shape.end());
  const ir::Tensor tensor(view.dtype, view.shape, nullptr, static_cast<const std::byte*>(view.data));
  for (int64_t i = 0; i < count * rows.size(); ++i) rows.values.push_back(static_cast<float>(tensor.at(i)));
}

std::vector<Rows> run_all(const Engine& engine, ImageInput input, const Preparation& how, const RunArgs& args) {
  ContextOptions options;
  options.strict = args.strict;
  ExecutionContext context = engine.create_execution_context(options);
  const std::vector<TensorInfo> outputs = engine.outputs();
  std::vector<Rows> all(outputs.size());
  const int64_t size = input.height * input.width * 3;
  for (size_t first = 0; first < args.images.size();) {
    const int64_t left = static_cast<int64_t>(args.images.size() - first), count = std::min(input.batch, left);
    if (!input.fixed_batch) input.batch = count;
    // Rows beyond the last picture of a model with a fixed batch stay zero.
    std::vector<float> pixels(static_cast<size_t>(input.batch * size));
    for (int64_t i = 0; i < count; ++i) {
      const Image image = value_or_throw(read_image(args.images[first + static_cast<size_t>(i)]));
      prepare_image(image, how, input.width, input.height, input.channels_last, pixels.data() + i * size);
    }
    std::vector<std::byte> bytes(pixels.size() * dtype_size(input.dtype));
    visit_dtype(input.dtype, [&]<class T>() {
      std::transform(pixels.begin(), pixels.end(), reinterpret_cast<T*>(bytes.data()), convert<T, float>);
    });
    std::vector<int64_t> shape{input.batch, 3, input.height, input.width};
    if (input.channels_last) shape = {input.batch, input.height, input.width, 3};
    context.set_input(input.name, {input.dtype, shape, bytes.data()});
    context.execute();
    for (size_t i = 0; i < outputs.size(); ++i)
      append(outputs[i], context.output(outputs[i].name), input, count, all[i]);
    first += static_cast<size_t>(count);
  }
  return all;
}

// Classes of one picture, most probable first. A model that ends with a softmax gives probabilities already.
std::vector<LabelScore> classes_of(const float* row, size_t count, const std::vector<std::string>& labels) {
  std::vector<float> logits(row, row + count);
  double sum = 0;
  bool positive = true;
  for (const float v : logits) {
    sum += v;
    positive = positive && v >= 0;
  }
  if (positive && std::abs(sum - 1) < 1e-3)
    std::transform(logits.begin(), logits.end(), logits.begin(), [](float p) { return std::log(std::max(p, 1e-30f)); });
  return tasks::rank_labels(logits.data(), count, labels);
}

void print_classes(const RunArgs& args, const Rows& rows, const std::vector<std::string>& labels) {
  Json list = Json::array();
  const auto count = static_cast<size_t>(rows.size());
  for (size_t i = 0; i < args.images.size(); ++i) {
    const std::vector<LabelScore> scores = classes_of(rows.values.data() + i * count, count, labels);
    Json found = Json::array();
    std::string line;
    for (size_t k = 0; k < std::min(count, static_cast<size_t>(args.top)); ++k) {
      found.push_back({{"label", scores[k].label}, {"probability", scores[k].probability}});
      line += fmt::format("{}{} {:.1f} %", k > 0 ? ", " : "", scores[k].label, 100 * scores[k].probability);
    }
    list.push_back({{"image", args.images[i]}, {"labels", std::move(found)}});
    if (!args.json) fmt::print("{}\n  {}\n", args.images[i], line);
  }
  if (args.json) fmt::print("{}\n", list.dump(2));
}

}  // namespace

int run_images(const RunArgs& args) {
  const Engine engine = Engine::load(args.engine, {.threads = args.threads, .target = args.target});
  const engine::Metadata& metadata = engine.executable()->file().metadata();
  const ImageInput input = find_input(engine, args);
  const std::vector<Rows> outputs = run_all(engine, input, preparation(metadata, args), args);
  const auto images = static_cast<int64_t>(args.images.size());
  if (!args.out.empty()) {
    NamedTensors tensors;
    for (const Rows& rows : outputs) {
      std::vector<int64_t> shape{images};
      shape.insert(shape.end(), rows.shape.begin(), rows.shape.end());
      tensors.emplace_back(rows.name, ir::Tensor::from(DType::kF32, std::move(shape), rows.values));
    }
    throw_if_error(save_tensors(args.out, tensors));
    return kSuccess;
  }
  // Scores of classes are the only axis of an output that is not 1.
  const auto is_scores = [](const Rows& rows) {
    return rows.size() > 1 &&
           std::any_of(rows.shape.begin(), rows.shape.end(), [&](int64_t s) { return s == rows.size(); });
  };
  const auto scores = std::find_if(outputs.begin(), outputs.end(), is_scores);
  if (scores == outputs.end() || args.raw) {
    for (const Rows& rows : outputs) {
      fmt::print("{} {} per image:", rows.name, join(rows.shape));
      for (size_t i = 0; i < std::min<size_t>(8, rows.values.size()); ++i) fmt::print(" {:.6g}", rows.values[i]);
      fmt::print("{}\n", rows.values.size() > 8 ? " …" : "");
    }
    return kSuccess;
  }
  const std::vector<std::string> labels = args.labels.empty() ? metadata.labels : read_labels(args.labels);
  if (!args.labels.empty() && static_cast<int64_t>(labels.size()) != scores->size()) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: {} labels, but {} of {} has {} classes", args.labels,
                                                         labels.size(), scores->name, args.engine, scores->size()));
  }
  print_classes(args, *scores, labels);
  return kSuccess;
}

}  // namespace tenon::tools
