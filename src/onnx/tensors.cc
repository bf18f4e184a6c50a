#include "onnx/tensors.h"

#include <array>
#include <charconv>
#include <filesystem>
#include <optional>

#include "base/checked.h"
#include "ir/graph.h"
#include "onnx/onnx.pb.h"

namespace tenon::onnx {
namespace {

using ir::Tensor;
using onnx_pb::TensorProto;

constexpr std::array<std::string_view, 29> kDataTypeNames = {
    "UNDEFINED",  "FLOAT",        "UINT8",          "INT8",       "UINT16",         "INT16",  "INT32",     "INT64",
    "STRING",     "BOOL",         "FLOAT16",        "DOUBLE",     "UINT32",         "UINT64", "COMPLEX64", "COMPLEX128",
    "BFLOAT16",   "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "UINT4",  "INT4",      "FLOAT4E2M1",
    "FLOAT8E8M0", "UINT2",        "INT2",           "FLOAT6E2M3", "FLOAT6E3M2"};

constexpr int32_t kExternal = 1;

std::string type_text(DType dtype, const std::vector<int64_t>& shape) {
  return ir::TensorType{dtype, ir::to_shape(shape)}.to_string();
}

// The address of `owner`'s first element, kept alive by the tensor.
template <class T>
Tensor own(DType dtype, std::vector<int64_t> shape, std::shared_ptr<T> owner) {
  const auto* data = reinterpret_cast<const std::byte*>(owner->data());
  return Tensor(dtype, std::move(shape), std::move(owner), data);
}

Result<Tensor> copy(DType dtype, std::vector<int64_t> shape, const void* data, size_t bytes) {
  std::byte* writable = nullptr;
  TENON_ASSIGN(Tensor tensor, Tensor::allocate(dtype, std::move(shape), &writable));
  if (bytes > 0) std::memcpy(writable, data, bytes);
  return tensor;
}

// Elements of a typed field as T. Half-precision types stand in their fields as bit patterns.
template <class T, class Field>
Tensor narrow(DType dtype, std::vector<int64_t> shape, const Field& field) {
  using Stored = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;
  std::vector<Stored> values;
  values.reserve(static_cast<size_t>(field.size()));
  for (const auto v : field) {
    if constexpr (std::is_same_v<T, F16> || std::is_same_v<T, BF16>) {
      T half;
      half.bits = static_cast<uint16_t>(v);
      values.push_back(half);
    } else if constexpr (std::is_same_v<T, bool>) {
      values.push_back(v != 0);
    } else {
      values.push_back(static_cast<T>(v));
    }
  }
  return Tensor::from(dtype, std::move(shape), values);
}

// The field that holds elements of a dtype when raw_data does not.
int field_size(const TensorProto& proto, DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return proto.float_data_size();
    case DType::kF64:
      return proto.double_data_size();
    case DType::kI64:
      return proto.int64_data_size();
    case DType::kU32:
    case DType::kU64:
      return proto.uint64_data_size();
    default:
      return proto.int32_data_size();
  }
}

// Moves a repeated field whose elements already are of the tensor's type out of the message.
template <class T>
Tensor take(DType dtype, std::vector<int64_t> shape, google::protobuf::RepeatedField<T>* field) {
  auto owner = std::make_shared<google::protobuf::RepeatedField<T>>();
  owner->Swap(field);
  return own(dtype, std::move(shape), std::move(owner));
}

Tensor take_field(TensorProto& proto, DType dtype, std::vector<int64_t> shape) {
  switch (dtype) {
    case DType::kF32:
      return take(dtype, std::move(shape), proto.mutable_float_data());
    case DType::kF64:
      return take(dtype, std::move(shape), proto.mutable_double_data());
    case DType::kI64:
      return take(dtype, std::move(shape), proto.mutable_int64_data());
    case DType::kU64:
      return take(dtype, std::move(shape), proto.mutable_uint64_data());
    case DType::kI32:
      return take(dtype, std::move(shape), proto.mutable_int32_data());
    case DType::kU32:
      return narrow<uint32_t>(dtype, std::move(shape), proto.uint64_data());
    default:
      break;
  }
  return visit_dtype(dtype, [&]<class T>() { return narrow<T>(dtype, shape, proto.int32_data()); });
}

// Bits of an element in a file, where types below a byte are packed.
size_t file_bits(DType dtype) {
  switch (dtype) {
    case DType::kF4E2M1:
    case DType::kI4:
    case DType::kU4:
      return 4;
    case DType::kI2:
    case DType::kU2:
      return 2;
    default:
      return 8 * dtype_size(dtype);
  }
}

size_t file_bytes(DType dtype, size_t numel) { return (numel * file_bits(dtype) + 7) / 8; }

// One element a byte, from elements packed into bytes, lowest bits first; signed ones extended.
template <class Bytes>
Tensor unpack(DType dtype, std::vector<int64_t> shape, size_t numel, const Bytes& packed) {
  const size_t bits = file_bits(dtype);
  const unsigned mask = (1u << bits) - 1, sign = dtype == DType::kI4 || dtype == DType::kI2 ? 1u << (bits - 1) : 0;
  std::vector<uint8_t> values(numel);
  for (size_t i = 0; i < numel; ++i) {
    const auto byte = static_cast<unsigned>(static_cast<uint8_t>(packed[static_cast<int>(i * bits / 8)]));
    const unsigned v = byte >> (i * bits % 8) & mask;
    values[i] = static_cast<uint8_t>((v ^ sign) - sign);
  }
  return Tensor::from(dtype, std::move(shape), values);
}

bool aligned(const std::byte* data, DType dtype) { return reinterpret_cast<uintptr_t>(data) % dtype_size(dtype) == 0; }

std::optional<int64_t> parse_integer(const std::string& text) {
  int64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string data_type_name(int32_t data_type) {
  if (data_type < 0 || static_cast<size_t>(data_type) >= kDataTypeNames.size())
    return fmt::format("type {}", data_type);
  return std::string(kDataTypeNames[static_cast<size_t>(data_type)]);
}

Result<DType> dtype_of(int32_t data_type) {
  switch (data_type) {
    case 1:
      return DType::kF32;
    case 2:
      return DType::kU8;
    case 3:
      return DType::kI8;
    case 4:
      return DType::kU16;
    case 5:
      return DType::kI16;
    case 6:
      return DType::kI32;
    case 7:
      return DType::kI64;
    case 9:
      return DType::kBool;
    case 10:
      return DType::kF16;
    case 11:
      return DType::kF64;
    case 12:
      return DType::kU32;
    case 13:
      return DType::kU64;
    case 16:
      return DType::kBF16;
    case 17:
      return DType::kF8E4M3FN;
    case 18:
      return DType::kF8E4M3FNUZ;
    case 19:
      return DType::kF8E5M2;
    case 20:
      return DType::kF8E5M2FNUZ;
    case 21:
      return DType::kU4;
    case 22:
      return DType::kI4;
    case 23:
      return DType::kF4E2M1;
    case 24:
      return DType::kF8E8M0;
    case 25:
      return DType::kU2;
    case 26:
      return DType::kI2;
    default:
      break;
  }
  if (data_type <= 0 || static_cast<size_t>(data_type) >= kDataTypeNames.size()) {
    return error(ErrorCode::kBadModel, "{} is not an element type of ONNX", data_type);
  }
  return error(ErrorCode::kUnsupported, "element type {} is not supported", data_type_name(data_type));
}

Result<Tensor> TensorReader::read(TensorProto& proto) {
  if (auto it = done_.find(&proto); it != done_.end()) return it->second;
  const auto tensor = [&]() -> Result<Tensor> {
    TENON_ASSIGN(const DType dtype, dtype_of(proto.data_type()));
    std::vector<int64_t> shape(proto.dims().begin(), proto.dims().end());
    const auto numel = checked_numel(shape);
    if (!numel || !checked_mul(*numel, 8 * static_cast<int64_t>(dtype_size(dtype))))
      return error(ErrorCode::kBadModel, "its shape {} is negative or too large", ir::to_string(ir::to_shape(shape)));
    if (proto.data_location() == kExternal)
      return read_external(proto, dtype, std::move(shape), static_cast<size_t>(*numel));
    return read_data(proto, dtype, std::move(shape), static_cast<size_t>(*numel));
  }();
  if (!tensor.ok()) return tensor.status().with_context(fmt::format("tensor '{}'", proto.name()));
  done_.emplace(&proto, *tensor);
  return tensor;
}

Result<Tensor> TensorReader::read_data(TensorProto& proto, DType dtype, std::vector<int64_t> shape, size_t numel) {
  if (proto.has_raw_data()) {
    const size_t bytes = file_bytes(dtype, numel);
    if (proto.raw_data().size() != bytes) {
      return error(ErrorCode::kBadModel, "{} needs {} bytes, the file has {}", type_text(dtype, shape), bytes,
                   proto.raw_data().size());
    }
    if (file_bits(dtype) < 8) return unpack(dtype, std::move(shape), numel, proto.raw_data());
    auto owner = std::make_shared<std::string>(std::move(*proto.mutable_raw_data()));
    if (!aligned(reinterpret_cast<const std::byte*>(owner->data()), dtype))
      return copy(dtype, std::move(shape), owner->data(), bytes);
    return own(dtype, std::move(shape), std::move(owner));
  }
  const auto found = static_cast<size_t>(field_size(proto, dtype));
  const size_t expected = file_bits(dtype) < 8 ? file_bytes(dtype, numel) : numel;
  if (found != expected) {
    return error(ErrorCode::kBadModel, "{} needs {} elements, the file has {}", type_text(dtype, shape), expected,
                 found);
  }
  if (file_bits(dtype) < 8) return unpack(dtype, std::move(shape), numel, proto.int32_data());
  return take_field(proto, dtype, std::move(shape));
}

Result<Tensor> TensorReader::read_external(const TensorProto& proto, DType dtype, std::vector<int64_t> shape,
                                           size_t numel) {
  const size_t bytes = file_bytes(dtype, numel);
  std::string location;
  int64_t offset = 0, length = static_cast<int64_t>(bytes);
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() != "offset" && entry.key() != "length") continue;
    const auto value = parse_integer(entry.value());
    if (!value || *value < 0) {
      return error(ErrorCode::kBadModel, "external data has the {} '{}', which is no size", entry.key(), entry.value());
    }
    (entry.key() == "offset" ? offset : length) = *value;
  }
  if (location.empty()) return error(ErrorCode::kBadModel, "external data has no location");
  if (static_cast<size_t>(length) != bytes) {
    return error(ErrorCode::kBadModel, "{} needs {} bytes, external data '{}' gives {}", type_text(dtype, shape), bytes,
                 location, length);
  }
  TENON_ASSIGN(auto file, open_external(location));
  const auto end = checked_add(offset, length);
  if (!end || static_cast<size_t>(*end) > file->bytes().size()) {
    return error(ErrorCode::kBadModel, "external data '{}' has {} bytes, {} bytes at offset {} are wanted", location,
                 file->bytes().size(), length, offset);
  }
  const std::byte* data = file->bytes().data() + offset;
  if (file_bits(dtype) < 8) return unpack(dtype, std::move(shape), numel, data);
  if (!aligned(data, dtype)) return copy(dtype, std::move(shape), data, bytes);
  return Tensor(dtype, std::move(shape), std::move(file), data);
}

Result<std::shared_ptr<const MappedFile>> TensorReader::open_external(const std::string& location) {
  namespace fs = std::filesystem;
  if (auto it = files_.find(location); it != files_.end()) return it->second;
  if (folder_.empty())
    return error(ErrorCode::kBadModel, "external data '{}' cannot be read: the model does not come from a folder",
                 location);
  const fs::path relative(location);
  bool escapes = relative.is_absolute() || location.find('\0') != std::string::npos;
  for (const fs::path& part : relative) escapes |= part == "..";
  if (escapes) return error(ErrorCode::kBadModel, "external data '{}' lies outside of the model's folder", location);
  std::error_code ec;
  const fs::path folder = fs::canonical(folder_, ec);
  if (ec) return error(ErrorCode::kNotFound, "the model's folder '{}' cannot be opened: {}", folder_, ec.message());
  const fs::path path = fs::canonical(folder / relative, ec);  // symbolic links resolved
  if (ec)
    return error(ErrorCode::kNotFound, "external data file '{}' cannot be opened: {}",
                 (fs::path(folder_) / relative).string(), ec.message());
  const auto [end, unused] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  if (end != folder.end()) {
    return error(ErrorCode::kBadModel, "external data '{}' is a link that leads outside of the model's folder",
                 location);
  }
  TENON_ASSIGN(auto file, MappedFile::open(path.string()));
  files_.emplace(location, file);
  return file;
}

}  // namespace tenon::onnx
