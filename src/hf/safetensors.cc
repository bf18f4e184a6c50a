#include "hf/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/mapped_file.h"
#include "hf/json.h"

namespace tenon::hf {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = uint64_t{16} << 20;  // some hundred bytes a tensor
constexpr size_t kMostAxes = 16;

std::optional<DType> dtype_of(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, DType>, 13> kNames = {{
      {"F32", DType::kF32},
      {"F16", DType::kF16},
      {"BF16", DType::kBF16},
      {"F64", DType::kF64},
      {"I8", DType::kI8},
      {"U8", DType::kU8},
      {"I16", DType::kI16},
      {"U16", DType::kU16},
      {"I32", DType::kI32},
      {"U32", DType::kU32},
      {"I64", DType::kI64},
      {"U64", DType::kU64},
      {"BOOL", DType::kBool},
  }};
  for (const auto& [text, dtype] : kNames)
    if (text == name) return dtype;
  return std::nullopt;
}

struct TensorEntry {
  DType dtype{};
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // within the data
};

Result<TensorEntry> parse_entry(const Json& json) {
  const auto bad = [](const char* what) { return error(ErrorCode::kBadModel, "{}", what); };
  if (!json.is_object()) return bad("not an object");
  TensorEntry entry;
  if (!json.contains("dtype") || !json["dtype"].is_string()) return bad("\"dtype\" is missing or not a string");
  const auto dtype = dtype_of(json["dtype"].get_ref<const std::string&>());
  if (!dtype)
    return error(ErrorCode::kUnsupported, "dtype {} is not supported", json["dtype"].get_ref<const std::string&>());
  entry.dtype = *dtype;

  if (!json.contains("shape") || !json["shape"].is_array()) return bad("\"shape\" is missing or not a list");
  if (json["shape"].size() > kMostAxes)
    return error(ErrorCode::kBadModel, "{} axes, at most {} expected", json["shape"].size(), kMostAxes);
  for (const Json& size : json["shape"]) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > uint64_t{INT64_MAX})
      return bad("\"shape\" holds something that is no size");
    entry.shape.push_back(size.get<int64_t>());
  }
  const Json offsets = json.value("data_offsets", Json());
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return bad("\"data_offsets\" is missing or not a pair of offsets");
  }
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  if (entry.end < entry.begin)
    return error(ErrorCode::kBadModel, "data ends at {}, before it begins at {}", entry.end, entry.begin);

  const auto count = checked_numel(entry.shape);
  const auto size = count ? checked_mul(*count, static_cast<int64_t>(dtype_size(entry.dtype))) : std::nullopt;
  if (!size) return bad("the shape is too large");
  if (entry.end - entry.begin != static_cast<uint64_t>(*size)) {
    return error(ErrorCode::kBadModel, "{} bytes of data, but dtype and shape need {}", entry.end - entry.begin, *size);
  }
  return entry;
}

// Every byte of the data belongs to exactly one tensor.
Status check_coverage(const std::vector<std::pair<std::string, TensorEntry>>& entries, uint64_t data_bytes) {
  std::vector<const std::pair<std::string, TensorEntry>*> order;
  for (const auto& e : entries) order.push_back(&e);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t covered = 0;
  for (const auto* e : order) {
    if (e->second.end > data_bytes) {
      return error(ErrorCode::kBadModel, "tensor '{}': data ends at {}, the file's data at {}", e->first, e->second.end,
                   data_bytes);
    }
    if (e->second.begin != covered) {
      return error(ErrorCode::kBadModel, "tensor '{}': data begins at {}, {}", e->first, e->second.begin,
                   e->second.begin < covered ? "inside another tensor's" : "after a gap");
    }
    covered = e->second.end;
  }
  if (covered != data_bytes)
    return error(ErrorCode::kBadModel, "the tensors' data ends at {}, the file's data at {}", covered, data_bytes);
  return {};
}

// Loads through a typed pointer must be aligned; the format's padding makes them so, but does not promise it.
Result<ir::Tensor> tensor_at(const TensorEntry& entry, const std::byte* data, const std::shared_ptr<const void>& owner) {
  if (reinterpret_cast<uintptr_t>(data) % dtype_size(entry.dtype) == 0)
    return ir::Tensor(entry.dtype, entry.shape, owner, data);
  std::byte* copy = nullptr;
  TENON_ASSIGN(ir::Tensor tensor, ir::Tensor::allocate(entry.dtype, entry.shape, &copy));
  std::memcpy(copy, data, tensor.bytes());
  return tensor;
}

}  // namespace

Result<TensorMap> parse_safetensors(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                    const std::string& file) {
  if (bytes.size() < kLengthBytes)
    return error(ErrorCode::kBadModel, "{}: {} bytes are no safetensors file", file, bytes.size());
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) header_bytes |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - kLengthBytes) {
    return error(ErrorCode::kBadModel, "{}: a header of {} bytes does not fit (not a safetensors file, or cut off)",
                 file, header_bytes);
  }
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                                static_cast<size_t>(header_bytes));
  if (!header.starts_with('{')) return error(ErrorCode::kBadModel, "{}: the header does not begin with '{{'", file);
  TENON_ASSIGN(const Json json, parse_json(header, file));

  std::vector<std::pair<std::string, TensorEntry>> entries;
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") continue;
    auto entry = parse_entry(value);
    if (!entry.ok()) return entry.status().with_context(fmt::format("{}: tensor '{}'", file, name));
    entries.emplace_back(name, std::move(*entry));
  }
  const auto data = bytes.subspan(kLengthBytes + static_cast<size_t>(header_bytes));
  if (Status s = check_coverage(entries, data.size()); !s.ok()) return s.with_context(file);

  TensorMap tensors;
  for (const auto& [name, entry] : entries) {
    TENON_ASSIGN(tensors[name], tensor_at(entry, data.data() + entry.begin, owner));
  }
  return tensors;
}

Result<TensorMap> read_safetensors(const std::string& path) {
  TENON_ASSIGN(const auto file, MappedFile::open(path));
  return parse_safetensors(file->bytes(), file, path);
}

}  // namespace tenon::hf
