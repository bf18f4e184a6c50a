#include "onnx/source.h"

#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>

namespace tenon::onnx {
namespace {

// Graphs nest in attributes of nodes, three messages per level.
constexpr int kMaxMessageDepth = 100;
constexpr int kReadBlock = 1 << 20;

Status parse(google::protobuf::io::ZeroCopyInputStream& stream, Source& source) {
  google::protobuf::io::CodedInputStream coded(&stream);
  coded.SetRecursionLimit(kMaxMessageDepth);
  if (!source.model.ParseFromCodedStream(&coded) || !coded.ConsumedEntireMessage()) {
    return error(ErrorCode::kBadModel, "{}: not an ONNX model, or damaged (protobuf parsing failed)", source.name);
  }
  if (!source.model.has_graph())
    return error(ErrorCode::kBadModel, "{}: not an ONNX model: it has no graph", source.name);
  return {};
}

class File {
 public:
  explicit File(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK /* a pipe must not block */)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

Result<std::unique_ptr<Source>> read_source(const std::string& path) {
  const File file(path);
  if (file.fd() < 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    return error(code, "{}: cannot open: {}", path, std::strerror(errno));
  }
  struct stat info {};
  if (::fstat(file.fd(), &info) != 0) return error(ErrorCode::kIo, "{}: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return error(ErrorCode::kIo, "{}: not a regular file", path);
  if (info.st_size > std::numeric_limits<int>::max()) {
    return error(ErrorCode::kBadModel,
                 "{}: {} bytes exceed protobuf's limit of 2 GiB; export the model with external data (weights in a "
                 "file of their own)",
                 path, static_cast<int64_t>(info.st_size));
  }
  auto source = std::make_unique<Source>();
  source->name = path;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  source->folder = parent.empty() ? "." : parent.string();
  google::protobuf::io::FileInputStream stream(file.fd(), kReadBlock);
  const Status status = parse(stream, *source);
  if (stream.GetErrno() != 0)
    return error(ErrorCode::kIo, "{}: read failed: {}", path, std::strerror(stream.GetErrno()));
  TENON_TRY(status);
  return source;
}

Result<std::unique_ptr<Source>> read_source(std::span<const std::byte> bytes, const std::string& folder) {
  auto source = std::make_unique<Source>();
  source->name = "<memory>";
  source->folder = folder;
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    return error(ErrorCode::kBadModel, "<memory>: {} bytes exceed protobuf's limit of 2 GiB", bytes.size());
  }
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  TENON_TRY(parse(stream, *source));
  return source;
}

}  // namespace tenon::onnx
