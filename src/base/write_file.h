// Files written whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace tenon {

// A file that exists under its final name only after commit(): readers see the old file or the new one, never a part.
// Errors of all: io.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".XXXXXX") {}
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  Status open();  // beside the final name
  Status write_at(uint64_t offset, std::span<const std::byte> bytes);
  Status resize(uint64_t size);
  Status commit();

 private:
  Status failed(const char* what) const;

  std::string path_, temporary_;
  int fd_ = -1;
  bool created_ = false;
};

// A small file at once. Errors: io.
Status write_file(const std::string& path, std::string_view contents);

// Errors: not-found, io.
Result<std::string> read_file(const std::string& path);

}  // namespace tenon
