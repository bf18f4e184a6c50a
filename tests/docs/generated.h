// Pages of docs/ that are written by tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace tenon::test {

// The page must say what the tables say. TENON_UPDATE_DOCS=1 writes it anew.
inline void check_page(const std::string& name, const std::string& expected) {
  const std::string path = std::string(TENON_SOURCE_DIR) + "/docs/" + name;
  if (std::getenv("TENON_UPDATE_DOCS") != nullptr) std::ofstream(path) << expected;
  std::ifstream file(path);
  const std::string actual{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_EQ(actual, expected) << "run the test with TENON_UPDATE_DOCS=1";
}

}  // namespace tenon::test
