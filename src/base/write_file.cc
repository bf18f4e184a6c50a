#include "base/write_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/mapped_file.h"

namespace tenon {

TemporaryFile::~TemporaryFile() {
  if (fd_ >= 0) ::close(fd_);
  if (created_) ::unlink(temporary_.c_str());
}

Status TemporaryFile::open() {
  fd_ = ::mkostemp(temporary_.data(), O_CLOEXEC);
  if (fd_ < 0) return failed("cannot be created");
  created_ = true;
  const mode_t mask = ::umask(0);  // mkostemp makes the file private; it gets what open(2) would have given
  ::umask(mask);
  if (::fchmod(fd_, 0666 & ~mask) != 0) return failed("cannot be made readable");
  return {};
}

Status TemporaryFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  constexpr size_t kMuch = size_t{1} << 20;  // goes to the disk while more is made, so that commit waits less
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("cannot be written");
    if (static_cast<size_t>(n) >= kMuch) ::sync_file_range(fd_, static_cast<off_t>(offset), n, SYNC_FILE_RANGE_WRITE);
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status TemporaryFile::resize(uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) return failed("cannot be written");
  return {};
}

Status TemporaryFile::commit() {
  if (::fsync(fd_) != 0) return failed("cannot be written");
  if (::close(std::exchange(fd_, -1)) != 0) return failed("cannot be written");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return failed("cannot be replaced");
  created_ = false;
  return {};
}

Status TemporaryFile::failed(const char* what) const {
  return error(ErrorCode::kIo, "{} {}: {}", path_, what, std::strerror(errno));
}

Status write_file(const std::string& path, std::string_view contents) {
  TemporaryFile file(path);
  TENON_TRY(file.open());
  TENON_TRY(file.write_at(0, std::as_bytes(std::span(contents))));
  return file.commit();
}

Result<std::string> read_file(const std::string& path) {
  TENON_ASSIGN(const auto file, MappedFile::open(path));
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

}  // namespace tenon
