// The golden corpus in tests/golden: exports and checkpoints with recorded inputs and outputs.
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "tests/support/safetensors.h"

namespace tenon::test {

struct GoldenOutput {
  std::string name;
  std::string rows;  // "tokens": [batch, seq, …], compared where the mask keeps; "first", "sequence": compared everywhere
};

struct GoldenCase {
  std::string name, kind, path, architecture, head, exporter, axes;
  std::vector<std::string> inputs;
  std::vector<GoldenOutput> outputs;
  int layers = 0, attention = 0, layer_norm = 0, rms_norm = 0, gelu = 0, silu = 0, qkv = 0;
  int conv = 0, conv_activation = 0;
  std::optional<bool> packable;  // nothing: either is right
  bool has_mask = false;
  double tolerance = 1e-4;
  double rounding = 0;  // more is allowed in less than 32 bits: the file rounds to 8 bits, this way or that
  TensorMap recorded;
  int shapes = 0;

  const ir::Tensor* find(int shape, const std::string& kind_of, const std::string& tensor) const {
    auto it = recorded.find("shape" + std::to_string(shape) + "/" + kind_of + "/" + tensor);
    return it == recorded.end() ? nullptr : &it->second;
  }
  // Which positions [batch, seq] hold tokens.
  const ir::Tensor* valid(int shape) const {
    auto it = recorded.find("shape" + std::to_string(shape) + "/valid");
    return it == recorded.end() ? nullptr : &it->second;
  }
};

inline void PrintTo(const GoldenCase& c, std::ostream* out) { *out << c.path; }

// A name that GoogleTest accepts.
inline std::string test_name(const GoldenCase& c) {
  std::string name = c.name;
  for (char& ch : name)
    if (!std::isalnum(static_cast<unsigned char>(ch))) ch = '_';
  return name;
}

inline std::string golden_folder() { return std::string(TENON_SOURCE_DIR) + "/tests/golden/"; }

// Cases of a kind, "onnx" or "checkpoint".
inline std::vector<GoldenCase> golden_cases(const std::string& kind) {
  std::ifstream file(golden_folder() + "index.json");
  const auto json = nlohmann::json::parse(file);
  std::vector<GoldenCase> cases;
  for (const auto& entry : json["cases"]) {
    if (entry["kind"] != kind) continue;
    GoldenCase c;
    c.name = entry["name"];
    c.kind = kind;
    c.path = golden_folder() + entry["file"].get<std::string>();
    c.architecture = entry.value("architecture", "");
    c.head = entry.value("head", "");
    c.exporter = entry.value("exporter", "");
    c.axes = entry.value("axes", "");
    c.layers = entry.value("layers", 0);
    c.has_mask = entry.value("has_attention_mask", false);
    c.inputs = entry["inputs"].get<std::vector<std::string>>();
    for (const auto& out : entry["outputs"]) c.outputs.push_back({out["name"], out["rows"]});
    if (entry.contains("expected")) {
      c.attention = entry["expected"].value("attention", 0);
      c.layer_norm = entry["expected"].value("layer_norm", 0);
      c.rms_norm = entry["expected"].value("rms_norm", 0);
      c.silu = entry["expected"].value("silu", 0);
      c.gelu = entry["expected"].value("gelu", 0);
      c.qkv = entry["expected"].value("qkv", 0);
      c.conv = entry["expected"].value("conv", 0);
      c.conv_activation = entry["expected"].value("conv_activation", 0);
    }
    if (entry.contains("packable") && entry["packable"].is_boolean()) c.packable = entry["packable"].get<bool>();
    c.tolerance = entry.value("tolerance", 1e-4);
    c.rounding = entry.value("rounding", 0.0);
    c.shapes = static_cast<int>(entry["shapes"].size());
    c.recorded = read_safetensors(golden_folder() + entry["recorded"].get<std::string>());
    cases.push_back(std::move(c));
  }
  return cases;
}

// The largest difference from a recorded output. Token rows at positions that `mask` [batch, seq] hides are not compared.
inline double worst_difference(const ir::Tensor& actual, const ir::Tensor& expected, const ir::Tensor* mask, bool per_token) {
  if (actual.shape() != expected.shape()) return INFINITY;
  const int64_t rows = mask != nullptr && per_token ? mask->numel() : 1;
  const int64_t width = rows > 0 ? expected.numel() / rows : 0;
  double worst = 0;
  for (int64_t i = 0; i < expected.numel(); ++i) {
    if (per_token && mask != nullptr && mask->shape().size() == 2 && mask->at(i / width) == 0) continue;
    const double difference = std::abs(actual.at(i) - expected.at(i));
    if (!(difference <= worst)) worst = std::isnan(difference) ? INFINITY : difference;
  }
  return worst;
}

}  // namespace tenon::test
