#include "tools/tensor_io.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/mapped_file.h"
#include "hf/zip.h"

namespace tenon::tools {
namespace {

using nlohmann::json;

struct NpyType {
  const char* text;  // as in the header, without the byte order
  DType dtype;
};
constexpr NpyType kNpyTypes[] = {{"f4", DType::kF32}, {"f2", DType::kF16}, {"f8", DType::kF64}, {"i1", DType::kI8},  {"u1", DType::kU8},  {"i2", DType::kI16},
                                 {"u2", DType::kU16}, {"i4", DType::kI32}, {"u4", DType::kU32}, {"i8", DType::kI64}, {"u8", DType::kU64}, {"b1", DType::kBool}};

bool ends_with(const std::string& path, const char* ending) { return path.ends_with(ending); }

// The value of a key in the header's Python dictionary, up to the next comma outside brackets.
std::string header_field(const std::string& header, const std::string& key) {
  const size_t at = header.find("'" + key + "':");
  if (at == std::string::npos) return "";
  size_t begin = at + key.size() + 3;
  int depth = 0;
  std::string value;
  for (size_t i = begin; i < header.size(); ++i) {
    const char c = header[i];
    if (c == '(') ++depth;
    if (c == ')') --depth;
    if ((c == ',' && depth == 0) || c == '}') break;
    if (c != ' ') value += c;
  }
  return value;
}

// The format is described in NumPy's documentation (numpy.lib.format).
Result<ir::Tensor> parse_npy(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
  const auto bad = [](const char* why) { return error(ErrorCode::kBadInput, "not a readable .npy array: {}", why); };
  if (bytes.size() < 10 || std::memcmp(bytes.data(), "\x93NUMPY", 6) != 0) return bad("no NumPy magic");
  const auto* b = reinterpret_cast<const unsigned char*>(bytes.data());
  const size_t prefix = b[6] >= 2 ? 12 : 10;
  if (bytes.size() < prefix) return bad("truncated");
  const size_t length = b[6] >= 2 ? b[8] | b[9] << 8 | b[10] << 16 | static_cast<size_t>(b[11]) << 24 : static_cast<size_t>(b[8] | b[9] << 8);
  if (bytes.size() - prefix < length) return bad("truncated header");
  const std::string header(reinterpret_cast<const char*>(bytes.data()) + prefix, length);
  if (header_field(header, "fortran_order") != "False") return error(ErrorCode::kUnsupported, "an array in Fortran order");
  std::string descr = header_field(header, "descr");
  if (descr.size() != 5 || (descr[1] != '<' && descr[1] != '|')) return error(ErrorCode::kUnsupported, "element type {}", descr);
  descr = descr.substr(2, 2);
  const NpyType* type = nullptr;
  for (const NpyType& t : kNpyTypes)
    if (descr == t.text) type = &t;
  if (type == nullptr) return error(ErrorCode::kUnsupported, "element type {}", descr);
  std::vector<int64_t> shape;
  const std::string dims = header_field(header, "shape");
  for (size_t i = 1; i + 1 < dims.size();) {
    char* end = nullptr;
    shape.push_back(std::strtoll(dims.c_str() + i, &end, 10));
    if (end == dims.c_str() + i) return bad("bad shape");
    i = static_cast<size_t>(end - dims.c_str()) + 1;
  }
  const auto count = checked_numel(shape);
  const auto size = count ? checked_mul(*count, static_cast<int64_t>(dtype_size(type->dtype))) : std::nullopt;
  if (!size || bytes.size() - prefix - length < static_cast<size_t>(*size)) return bad("fewer bytes than its shape needs");
  return ir::Tensor(type->dtype, std::move(shape), std::move(owner), bytes.data() + prefix + length);
}

// Nested lists; every list of a level must have the same length.
Status flatten(const json& value, size_t level, std::vector<int64_t>& shape, std::vector<json>& flat) {
  if (!value.is_array()) {
    if (level != shape.size()) return error(ErrorCode::kBadInput, "lists are nested unevenly");
    if (!value.is_number() && !value.is_boolean()) return error(ErrorCode::kBadInput, "a value is no number");
    flat.push_back(value);
    return {};
  }
  if (level > 8) return error(ErrorCode::kBadInput, "lists are nested too deeply");
  if (level == shape.size()) {
    if (!flat.empty()) return error(ErrorCode::kBadInput, "lists are nested unevenly");
    shape.push_back(static_cast<int64_t>(value.size()));
  }
  if (shape[level] != static_cast<int64_t>(value.size())) return error(ErrorCode::kBadInput, "lists of one level differ in length");
  for (const json& element : value) TENON_TRY(flatten(element, level + 1, shape, flat));
  return {};
}

Result<ir::Tensor> from_json(const json& value) {
  std::vector<int64_t> shape;
  std::vector<json> flat;
  TENON_TRY(flatten(value, 0, shape, flat));
  bool integers = true, booleans = !flat.empty();
  for (const json& v : flat) {
    integers &= v.is_number_integer();
    booleans &= v.is_boolean();
  }
  if (booleans) {
    std::vector<uint8_t> values;
    for (const json& v : flat) values.push_back(v.get<bool>());
    return ir::Tensor::from(DType::kBool, shape, values);
  }
  if (integers) {
    std::vector<int64_t> values;
    for (const json& v : flat) values.push_back(v.get<int64_t>());
    return ir::Tensor::from(DType::kI64, shape, values);
  }
  std::vector<float> values;
  for (const json& v : flat) values.push_back(v.is_boolean() ? static_cast<float>(v.get<bool>()) : v.get<float>());
  return ir::Tensor::from(DType::kF32, shape, values);
}

json to_json(const ir::Tensor& t, size_t axis, int64_t& next) {
  if (axis == t.shape().size()) {
    const int64_t i = next++;
    if (t.dtype() == DType::kBool) return t.at(i) != 0;
    return is_float(t.dtype()) || is_narrow_float(t.dtype()) ? json(static_cast<float>(t.at(i))) : json(t.int_at(i));
  }
  json list = json::array();
  for (int64_t i = 0; i < t.shape()[axis]; ++i) list.push_back(to_json(t, axis + 1, next));
  return list;
}

// Types that NumPy does not have are written as float32, which holds all their values.
std::string to_npy(const ir::Tensor& t) {
  const auto* known = std::find_if(std::begin(kNpyTypes), std::end(kNpyTypes), [&](const NpyType& n) { return n.dtype == t.dtype(); });
  if (known == std::end(kNpyTypes)) {
    std::vector<float> wide;
    for (int64_t i = 0; i < t.numel(); ++i) wide.push_back(static_cast<float>(t.at(i)));
    return to_npy(ir::Tensor::from(DType::kF32, t.shape(), wide));
  }
  const char* type = known->text;
  std::string header = std::string("{'descr': '") + (dtype_size(t.dtype()) == 1 ? "|" : "<") + type + "', 'fortran_order': False, 'shape': (";
  for (int64_t d : t.shape()) header += std::to_string(d) + ",";
  header += "), }";
  while ((header.size() + 11) % 64 != 0) header += ' ';  // data begins at a multiple of 64
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 0xff);
  out += static_cast<char>(header.size() >> 8);
  return out + header + std::string(reinterpret_cast<const char*>(t.data()), t.bytes());
}

void put(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

// A zip archive of stored entries: what numpy.load reads.
std::string to_npz(const NamedTensors& tensors) {
  std::string out, directory;
  for (const auto& [name, tensor] : tensors) {
    const std::string file = name + ".npy", data = to_npy(tensor);
    const auto crc = crc32(0, reinterpret_cast<const unsigned char*>(data.data()), static_cast<unsigned>(data.size()));
    std::string common;
    put(common, 20, 2);  // version needed
    put(common, 0, 8);   // flags, method 0 (stored), time and date
    put(common, crc, 4);
    put(common, data.size(), 4);
    put(common, data.size(), 4);
    put(common, file.size(), 2);
    put(common, 0, 2);  // extra
    directory += std::string("PK\x01\x02") + std::string("\x14\x00", 2) + common;
    put(directory, 0, 10);  // comment, disk, attributes
    put(directory, out.size(), 4);
    directory += file;
    out += std::string("PK\x03\x04") + common + file + data;
  }
  const size_t start = out.size();
  out += directory + std::string("PK\x05\x06");
  put(out, 0, 4);
  put(out, tensors.size(), 2);
  put(out, tensors.size(), 2);
  put(out, directory.size(), 4);
  put(out, start, 4);
  put(out, 0, 2);
  return out;
}

}  // namespace

Result<NamedTensors> load_tensors(const std::string& path) {
  TENON_ASSIGN(auto file, MappedFile::open(path));
  const auto named = [&](const Status& s, const std::string& entry) { return s.with_context(entry.empty() ? path : path + ": " + entry); };
  NamedTensors tensors;
  if (ends_with(path, ".npz")) {
    auto entries = hf::read_zip(file->bytes());
    if (!entries.ok()) return named(entries.status(), "");
    for (const auto& [entry, bytes] : *entries) {
      auto tensor = parse_npy(bytes, file);
      if (!tensor.ok()) return named(tensor.status(), entry);
      tensors.emplace_back(ends_with(entry, ".npy") ? entry.substr(0, entry.size() - 4) : entry, *tensor);
    }
    return tensors;
  }
  if (ends_with(path, ".json")) {
    const auto* begin = reinterpret_cast<const char*>(file->bytes().data());
    const json object = json::parse(begin, begin + file->bytes().size(), nullptr, false);
    if (!object.is_object()) return error(ErrorCode::kBadInput, "{}: not a JSON object of named lists", path);
    for (const auto& [name, value] : object.items()) {
      auto tensor = from_json(value);
      if (!tensor.ok()) return named(tensor.status(), name);
      tensors.emplace_back(name, *tensor);
    }
    return tensors;
  }
  auto tensor = parse_npy(file->bytes(), file);
  if (!tensor.ok()) return named(tensor.status(), "");
  tensors.emplace_back("", *tensor);
  return tensors;
}

Status save_tensors(const std::string& path, const NamedTensors& tensors) {
  std::string bytes;
  if (ends_with(path, ".npz")) {
    uint64_t total = 0;
    for (const auto& [name, tensor] : tensors) total += tensor.bytes();
    if (total > 0xf0000000u) return error(ErrorCode::kUnsupported, "{}: more than 4 GB in one .npz", path);
    bytes = to_npz(tensors);
  } else if (ends_with(path, ".json")) {
    json object = json::object();
    for (const auto& [name, tensor] : tensors) {
      int64_t next = 0;
      object[name] = to_json(tensor, 0, next);
    }
    bytes = object.dump() + "\n";
  } else if (ends_with(path, ".npy")) {
    if (tensors.size() != 1) return error(ErrorCode::kInvalidArgument, "{}: .npy holds one tensor, there are {}; use .npz", path, tensors.size());
    bytes = to_npy(tensors[0].second);
  } else {
    return error(ErrorCode::kInvalidArgument, "{}: outputs are written as .npz, .npy or .json", path);
  }
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  return file ? Status() : error(ErrorCode::kIo, "cannot write {} (disk full?)", path);
}

}  // namespace tenon::tools
