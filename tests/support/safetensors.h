// A small reader of .safetensors files, independent of src/hf, for recorded tensors.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "ir/tensor.h"

namespace tenon::test {

using TensorMap = std::map<std::string, ir::Tensor>;

inline TensorMap read_safetensors(const std::string& path) {
  static const std::map<std::string, DType> kTypes = {
      {"F64", DType::kF64}, {"F32", DType::kF32}, {"F16", DType::kF16}, {"BF16", DType::kBF16}, {"I64", DType::kI64}, {"I32", DType::kI32},
      {"I16", DType::kI16}, {"I8", DType::kI8},   {"U8", DType::kU8},   {"BOOL", DType::kBool}};
  auto bytes = std::make_shared<std::vector<char>>(std::filesystem::exists(path) ? std::filesystem::file_size(path) : 0);
  std::ifstream file(path, std::ios::binary);
  file.read(bytes->data(), static_cast<std::streamsize>(bytes->size()));
  uint64_t header = 0;
  if (!file || bytes->size() < 8) throw std::runtime_error("cannot read " + path);
  std::memcpy(&header, bytes->data(), 8);
  const auto json = nlohmann::json::parse(bytes->begin() + 8, bytes->begin() + 8 + static_cast<long>(header));
  TensorMap tensors;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") continue;
    const char* data = bytes->data() + 8 + header + entry["data_offsets"][0].get<size_t>();
    tensors.emplace(name, ir::Tensor(kTypes.at(entry["dtype"]), entry["shape"].get<std::vector<int64_t>>(), bytes,
                                     reinterpret_cast<const std::byte*>(data)));
  }
  return tensors;
}

}  // namespace tenon::test
