// A parsed ONNX file.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "onnx/onnx.pb.h"

namespace tenon::onnx {

struct Source {
  std::string name;    // for messages
  std::string folder;  // where external data lies; empty: there is none
  onnx_pb::ModelProto model;
};

// Streams the file through protobuf: peak memory is the parsed message. Errors: not-found, io, bad-model.
Result<std::unique_ptr<Source>> read_source(const std::string& path);
Result<std::unique_ptr<Source>> read_source(std::span<const std::byte> bytes, const std::string& folder);

}  // namespace tenon::onnx
