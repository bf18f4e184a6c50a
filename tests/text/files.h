// Files of the source tree, and data that stands beside a checkout on machines of developers.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace tenon::text {

inline std::string read_text(const std::string& path) {
  std::string text(std::filesystem::exists(path) ? std::filesystem::file_size(path) : 0, '\0');
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.read(text.data(), static_cast<std::streamsize>(text.size())).good()) << path;
  return text;
}

inline std::string golden(const std::string& name) {
  return std::string(TENON_SOURCE_DIR) + "/tests/text/golden/" + name;
}
inline std::string shared_data(const std::string& name) {
  return std::string(TENON_SOURCE_DIR) + "/../shared/data/" + name;
}
inline bool has_shared_data() { return std::filesystem::exists(shared_data("vocab/bert-base-uncased/vocab.txt")); }

inline nlohmann::json read_json(const std::string& path) { return nlohmann::json::parse(read_text(path)); }

}  // namespace tenon::text

#define SKIP_WITHOUT_SHARED_DATA() \
  if (!::tenon::text::has_shared_data()) GTEST_SKIP() << "no ../shared/data beside the source folder"
