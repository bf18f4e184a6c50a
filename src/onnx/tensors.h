// Tensors of an ONNX file: initializers, constant attributes, external data.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/mapped_file.h"
#include "base/status.h"
#include "ir/tensor.h"

namespace tenon::onnx_pb {
class TensorProto;
}

namespace tenon::onnx {

// TensorProto.DataType as a DType. Errors: unsupported (strings, complex numbers, 6-bit floats), bad-model.
Result<DType> dtype_of(int32_t data_type);
// "FLOAT8E4M3FN", for messages.
std::string data_type_name(int32_t data_type);

class TensorReader {
 public:
  explicit TensorReader(std::string folder) : folder_(std::move(folder)) {}

  // The tensor of a message. Its bytes are moved out of the message, borrowed from the mapping of an external file, or
  // converted where the message holds wider elements; reading the same message again gives the same tensor.
  // Errors: bad-model, unsupported, not-found, io; naming the tensor, and the file where external.
  Result<ir::Tensor> read(onnx_pb::TensorProto& proto);

 private:
  Result<ir::Tensor> read_data(onnx_pb::TensorProto& proto, DType dtype, std::vector<int64_t> shape, size_t numel);
  Result<ir::Tensor> read_external(const onnx_pb::TensorProto& proto, DType dtype, std::vector<int64_t> shape,
                                   size_t numel);
  Result<std::shared_ptr<const MappedFile>> open_external(const std::string& location);

  std::string folder_;
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
  std::unordered_map<const onnx_pb::TensorProto*, ir::Tensor> done_;
};

}  // namespace tenon::onnx
