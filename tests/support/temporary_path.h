// Files of tests, which may run beside each other.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace tenon::test {

// A file name in the test's temporary folder; the file is removed with the object.
class TemporaryPath {
 public:
  explicit TemporaryPath(const std::string& name) {
    static int count = 0;
    path_ = testing::TempDir() + "tenon-" + std::to_string(::getpid()) + "-" + std::to_string(count++) + "-" + name;
  }
  ~TemporaryPath() { std::filesystem::remove(path_); }
  TemporaryPath(const TemporaryPath&) = delete;
  TemporaryPath& operator=(const TemporaryPath&) = delete;
  const std::string& str() const { return path_; }

 private:
  std::string path_;
};

}  // namespace tenon::test
