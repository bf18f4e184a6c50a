#include "builder/beside.h"

#include <algorithm>
#include <filesystem>

#include "hf/config.h"
#include "hf/image_processor.h"

namespace tenon::builder {
namespace {

namespace fs = std::filesystem;

bool has(const fs::path& folder, const char* file) {
  std::error_code ignored;
  return fs::exists(folder / file, ignored);
}

// Of a classifier's logits; 0: not known.
int64_t classes_of(const ir::Graph& graph) {
  const auto logits = std::ranges::find(graph.outputs(), "logits", &ir::Output::name);
  if (logits == graph.outputs().end() || logits->value->shape().empty()) return 0;
  const ir::Dim& last = logits->value->shape().back();
  return last.is_const() ? last.value() : 0;
}

Status read_classes(const std::string& path, ir::Model& model) {
  TENON_ASSIGN(hf::Classes classes, hf::read_classes(path));
  const auto named = static_cast<int64_t>(classes.labels.size()), there_are = classes_of(*model.graph);
  if (named > 0 && there_are > 0 && named != there_are)
    return error(ErrorCode::kBadModel, "{}: names {} classes, the model has {}", path, named, there_are);
  model.labels = std::move(classes.labels);
  if (!classes.problem_type.empty()) model.properties.emplace("problem_type", classes.problem_type);
  return {};
}

bool takes_images(const ir::Graph& graph) {
  return std::ranges::any_of(graph.inputs(), [](const auto& in) { return in->rank() == 4; });
}

}  // namespace

std::string folder_beside(const std::string& model) {
  std::error_code ignored;
  const fs::path path = fs::absolute(model, ignored).lexically_normal();
  const fs::path folder = fs::is_directory(path, ignored) ? path / "" : path;
  const fs::path own = folder.parent_path(), above = own.parent_path();
  return own.filename() == "onnx" && !has(own, "config.json") && has(above, "config.json") ? above.string()
                                                                                           : own.string();
}

Result<std::shared_ptr<const text::Tokenizer>> find_tokenizer(const std::string& folder, const std::string& asked,
                                                              std::vector<std::string>& notes) {
  using Found = std::shared_ptr<const text::Tokenizer>;
  const fs::path where = asked.empty() ? folder : asked;
  if (where.empty()) return Found();
  std::error_code ignored;
  const fs::path path = fs::is_directory(where, ignored) ? where : where.parent_path();
  if (asked.empty() && !has(path, "tokenizer.json") && !has(path, "vocab.txt")) return Found();
  auto tokenizer = text::Tokenizer::from_folder(path.string());
  if (tokenizer.ok() || !asked.empty()) return tokenizer;
  notes.push_back("no tokenizer in the engine: " + tokenizer.status().message());
  return Found();
}

void read_beside(const std::string& folder, ir::Model& model) {
  if (folder.empty()) return;
  if (model.labels.empty() && model.task.ends_with("-classification") && has(folder, "config.json")) {
    if (Status s = read_classes((fs::path(folder) / "config.json").string(), model); !s.ok())
      model.notes.push_back("classes without names: " + s.message());
  }
  if (!model.properties.contains("image_mean") && takes_images(*model.graph) &&
      has(folder, "preprocessor_config.json")) {
    auto properties = hf::read_image_processor(folder);
    if (properties.ok()) {
      model.properties.merge(*properties);
    } else {
      model.notes.push_back("images are prepared as ImageNet models want it: " + properties.status().message());
    }
  }
}

}  // namespace tenon::builder
