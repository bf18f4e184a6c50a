#include "hf/tensor_files.h"

#include <array>
#include <filesystem>
#include <string_view>

#include "hf/json.h"
#include "hf/pytorch_bin.h"

namespace tenon::hf {
namespace {

constexpr std::string_view kIndexSuffix = ".index.json";

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

Result<TensorMap> read_file(const std::string& path) {
  return path.ends_with(".safetensors") ? read_safetensors(path) : read_pytorch_bin(path);
}

Result<TensorMap> read_shards(const std::string& folder, const std::string& file) {
  const std::string path = folder + "/" + file;
  TENON_ASSIGN(const Json index, read_object(path));
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object())
    return error(ErrorCode::kBadModel, "{}: \"weight_map\" is missing", path);
  const std::string_view suffix = file.find("safetensors") != std::string::npos ? ".safetensors" : ".bin";

  TensorMap all;
  std::map<std::string, TensorMap> shards;
  for (const auto& [name, value] : map->items()) {
    if (!value.is_string()) return error(ErrorCode::kBadModel, "{}: tensor '{}' names no file", path, name);
    const std::string shard = value.get<std::string>();
    if (!is_plain_file_name(shard) || !shard.ends_with(suffix)) {
      return error(ErrorCode::kBadModel, "{}: tensor '{}' stands in '{}', which is no {} file of this folder", path,
                   name, shard, suffix);
    }
    if (!shards.contains(shard)) {
      auto tensors = read_file(folder + "/" + shard);
      if (!tensors.ok()) return tensors.status().with_context(path);
      shards.emplace(shard, std::move(*tensors));
    }
    const TensorMap& tensors = shards.at(shard);
    const auto tensor = tensors.find(name);
    if (tensor == tensors.end())
      return error(ErrorCode::kBadModel, "{}: tensor '{}' is not in '{}'", path, name, shard);
    all.emplace(name, tensor->second);
  }
  return all;
}

}  // namespace

std::string find_weights(const std::string& folder) {
  constexpr std::array kNames = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                 "pytorch_model.bin.index.json"};
  for (const char* name : kNames) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(std::filesystem::path(folder) / name, ignored)) return name;
  }
  return "";
}

Result<TensorMap> read_weights(const std::string& folder, const std::string& file) {
  return std::string_view(file).ends_with(kIndexSuffix) ? read_shards(folder, file) : read_file(folder + "/" + file);
}

}  // namespace tenon::hf
