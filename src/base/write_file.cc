#include "base/write_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/mapped_file.h"

namespace tenon {
namespace {

bool write_all(int file, std::string_view contents) {
  while (!contents.empty()) {
    const ssize_t n = ::write(file, contents.data(), contents.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    contents.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

Status write_file(const std::string& path, std::string_view contents) {
  std::string temporary = path + ".XXXXXX";
  const auto failed = [&](const char* what) {
    return error(ErrorCode::kIo, "{} {}: {}", path, what, std::strerror(errno));
  };
  const int file = ::mkstemp(temporary.data());
  if (file < 0) return failed("cannot be created");
  Status status;
  if (!write_all(file, contents) || ::fsync(file) != 0) status = failed("cannot be written");
  if (::close(file) != 0 && status.ok()) status = failed("cannot be written");
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) status = failed("cannot be replaced");
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

Result<std::string> read_file(const std::string& path) {
  TENON_ASSIGN(const auto file, MappedFile::open(path));
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

}  // namespace tenon
